"""A GANformer2: its data, what is drawn in training, and its commands."""
