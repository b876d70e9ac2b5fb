"""An experiment put together: its data, its networks, what observes it, and the training loop."""
