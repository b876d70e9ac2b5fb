"""Evaluation: numbers of image sets, of paths between latents and of components on scenes."""
