"""Image data: datasets prepared from any source, and batches of their images.

`prepare.py` writes datasets and `batches.py` reads them. Both need TensorFlow Datasets, but not
TensorFlow. `source_images.py` reads the images of a source without preparing a dataset.
"""
