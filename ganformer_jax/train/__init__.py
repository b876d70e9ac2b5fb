"""Training: the state, its updates, their compilation, checkpoints and the training loop."""
