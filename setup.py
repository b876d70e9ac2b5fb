"""Installs the published configs as `ganformer_jax/configs`; all else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["ganformer_jax*"]), "ganformer_jax.configs"],
    package_dir={"ganformer_jax.configs": "configs"},
)
