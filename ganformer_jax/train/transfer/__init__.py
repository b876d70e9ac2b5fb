"""Starts of runs from the weights of networks of other classes, channels or sizes."""
