"""The commands; importing a module registers what it holds."""
