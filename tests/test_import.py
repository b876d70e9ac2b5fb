"""`import ganformer_jax` needs jax, flax and what these bring, nothing more."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[1]

HIDE_THE_REST = '''
import json, sys

allowed = set(json.loads(sys.argv[1]))

class OnlyAllowed:
    """Finds what the wrapped finder finds; anything not allowed looks like it is not installed."""

    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        # _sysconfigdata* is the standard library's, named by platform.
        if name.partition(".")[0] in allowed or name.startswith("_sysconfigdata"):
            return self.finder.find_spec(name, path, target)

sys.meta_path[:] = [OnlyAllowed(finder) for finder in sys.meta_path]
'''

TOUCH_EVERY_NAME = """
import ganformer_jax
assert ganformer_jax.__all__, "the functional API is empty"
for name in ganformer_jax.__all__:
    getattr(ganformer_jax, name)
"""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def brought_by(*requirements: str) -> set[str]:
    """Names the distributions that these requirements install, themselves included."""
    seen: set[tuple[str, str]] = set()
    to_do = [Requirement(r) for r in requirements]
    while to_do:
        requirement = to_do.pop()
        for extra in ["", *sorted(requirement.extras)]:
            name = canonical(requirement.name)
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for line in importlib.metadata.requires(name) or []:
                inner = Requirement(line)
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    to_do.append(inner)
    return {name for name, _ in seen}


def importable_names(distributions: set[str]) -> set[str]:
    owners = importlib.metadata.packages_distributions()
    return {
        module
        for module, names in owners.items()
        if distributions & {canonical(name) for name in names}
    }


def run_isolated(code: str) -> subprocess.CompletedProcess[str]:
    allowed = importable_names(brought_by("jax", "flax")) | set(sys.stdlib_module_names)
    allowed |= {"ganformer_jax"}
    return subprocess.run(
        [sys.executable, "-c", HIDE_THE_REST + code, json.dumps(sorted(allowed))],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_functional_api_imports_without_anything_else():
    result = run_isolated(TOUCH_EVERY_NAME)
    assert result.returncode == 0, result.stderr


def test_jax_and_flax_themselves_import():
    result = run_isolated("import jax.numpy, flax.linen, optax")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("module", ["chex", "jaxtyping", "grain", "tyro", "PIL"])
def test_the_rest_is_hidden(module):
    result = run_isolated(f"import {module}")
    assert result.returncode != 0
    assert f"No module named {module!r}" in result.stderr
