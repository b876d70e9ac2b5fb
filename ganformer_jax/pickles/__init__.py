"""Reading of pickles without importing or executing anything that they name."""
