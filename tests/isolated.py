"""Running code where only jax, flax and what they install can be imported."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[1]

HIDE_THE_REST = '''
import json, sys

allowed = set(json.loads(sys.argv[1]))

class OnlyAllowed:
    """Finds what the wrapped finder finds, if it is allowed."""

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


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_by(*requirements: str) -> set[str]:
    """Return the distributions that these requirements install, themselves included."""
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


def run_isolated(
    code: str,
    *arguments: str,
    requirements: Sequence[str] = ("jax", "flax"),
    package: bool = True,
    cwd: Path = REPOSITORY,
) -> subprocess.CompletedProcess[str]:
    """Run code in a process that can import what these requirements install, and this package.

    Args:
        code: Python code.
        *arguments: In `sys.argv`, after the names of what can be imported.
        requirements: Distributions that can be imported, with those that they require.
        package: Whether this package can be imported.
        cwd: Folder to run in.
    """
    allowed = importable_names(installed_by(*requirements)) | set(sys.stdlib_module_names)
    allowed |= {"ganformer_jax"} if package else set()
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, "-c", HIDE_THE_REST + code, json.dumps(sorted(allowed)), *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )
