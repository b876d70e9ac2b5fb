"""Training of other kinds than a GAN: their states, losses and updates."""
