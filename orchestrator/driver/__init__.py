"""A sweep from the command line to its comparison."""
