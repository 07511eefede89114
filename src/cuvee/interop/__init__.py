"""The mixture in other people's formats."""
