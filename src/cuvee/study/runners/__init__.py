"""Runners: where the worker command runs. A runner takes job files and returns one outcome each."""
