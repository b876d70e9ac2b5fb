"""Latents of a GAN: directions among them, edits, and projection of images to them."""
