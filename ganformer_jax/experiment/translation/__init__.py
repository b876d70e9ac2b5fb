"""A translation: its two sets of images, what is drawn in training, and translated images."""
