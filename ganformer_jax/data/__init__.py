"""Image data: prepare it from any source, open prepared datasets, make batches of them.

`prepare.py` writes datasets, `batches.py` reads them; both need TensorFlow Datasets, without
TensorFlow. `source_images.py` reads images of one size from any source as they are.
"""
