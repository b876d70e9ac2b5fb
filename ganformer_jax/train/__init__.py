"""Training: the state, the adversarial game, its compilation, checkpoints and the schedule."""
