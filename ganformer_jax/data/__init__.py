"""Pictures to train on: the built-in scenes, prepared datasets, and batches of them.

Import the module you need: ``scenes`` and ``rendering`` need only JAX; ``scenes_dataset`` and
``batches`` bring in TensorFlow Datasets (without TensorFlow) and Grain.
"""
