"""From tables of past runs to what to train on: files in, joined and checked, fitted, the choice with its evidence out."""
