"""One HTML page about a run, or one that compares several: curves, samples, config, history.

`run_page` and `comparison_page` make a page from a run's files alone (`read_run_folder`), with the
packages jinja2 and plotly. A page is self-contained and contacts no server.
"""

from ganformer_jax.report.page import MARK, comparison_page, run_page
from ganformer_jax.report.run_files import Run, read_run_folder

__all__ = ["MARK", "Run", "comparison_page", "read_run_folder", "run_page"]
