"""A page, served on this machine, that edits the latents of a generator and shows its images.

`state` and `viewed_generator` need only the dependencies of sampling; `app` and `serve` also need
starlette and uvicorn, the extra `view`.
"""

from ganformer_jax.viewer.state import Labels, State, ViewedEdit, parse_state
from ganformer_jax.viewer.viewed_generator import View, ViewedGenerator

__all__ = ["ViewedEdit", "Labels", "State", "View", "ViewedGenerator", "parse_state"]
