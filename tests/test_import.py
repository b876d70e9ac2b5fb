"""`import ganformer_jax` needs jax, flax and what these install, nothing more."""

import pathlib
import tomllib

import pytest
from isolated import run_isolated

TOUCH_EVERY_NAME = """
import ganformer_jax
assert ganformer_jax.__all__, "the functional API is empty"
for name in ganformer_jax.__all__:
    getattr(ganformer_jax, name)
"""


def test_the_functional_api_imports_without_anything_else():
    result = run_isolated(TOUCH_EVERY_NAME)
    assert result.returncode == 0, result.stderr


def test_sampling_imports_without_anything_else():
    result = run_isolated("import ganformer_jax.sampling")
    assert result.returncode == 0, result.stderr


def test_jax_and_flax_themselves_import():
    result = run_isolated("import jax.numpy, flax.linen, optax")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("module", ["chex", "jaxtyping", "grain", "tyro", "PIL"])
def test_the_rest_is_hidden(module):
    result = run_isolated(f"import {module}")
    assert result.returncode != 0
    assert f"No module named {module!r}" in result.stderr


def test_type_checkers_read_the_types_of_the_package():
    root = pathlib.Path(__file__).parents[1]
    settings = tomllib.loads((root / "pyproject.toml").read_text())
    installed = settings["tool"]["setuptools"]["package-data"]["ganformer_jax"]
    assert "py.typed" in installed and (root / "ganformer_jax" / "py.typed").is_file()
