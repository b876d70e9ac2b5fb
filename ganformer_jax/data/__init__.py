"""Image data: prepare it from any source, open prepared datasets, make batches of them.

`prepare.py` writes datasets, `batches.py` reads them; both need TensorFlow Datasets, without
TensorFlow. `folder_images.py` reads a folder of images as it is.
"""
