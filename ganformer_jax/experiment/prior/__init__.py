"""A prior over codes of images: its data, what is drawn in training, and its samples."""
