"""One HTML page about a run, or one that compares several: curves, samples, config, history.

A page is made of a run's files alone (`read_run_folder`), by `run_page` and `comparison_page`, with
the packages jinja2 and plotly. It holds everything that it shows, and asks no server for anything.
"""

from ganformer_jax.report.page import MARK, comparison_page, run_page
from ganformer_jax.report.run_files import Run, read_run_folder

__all__ = ["MARK", "Run", "comparison_page", "read_run_folder", "run_page"]
