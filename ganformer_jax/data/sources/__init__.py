"""Sources of images: a subclass of `Source` for each format; `open.py` chooses among them."""
