"""Sets of images to numbers: what the `evaluate` command does, apart from the command line."""
