"""Sources of images: folders, archives, arrays, databases, records, prepared datasets.

Each kind is a `Source` (source.py); `open.py` opens a path as the right kind.
"""
