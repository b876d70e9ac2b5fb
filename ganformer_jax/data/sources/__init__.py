"""Sources of images, each kind a `Source` (source.py); `open.py` opens a path as the right kind."""
