"""Checkpoints of a run, with Orbax: written, checked, read, and which of them are kept."""
