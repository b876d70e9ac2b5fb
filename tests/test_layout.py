"""A file imports only from lower levels, or from its own folder."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "ganformer_jax"
ROOT = Path(__file__).resolve().parents[1] / PACKAGE

LEVELS = [
    {"caches", "captions", "classes", "conditions", "config", "download"}
    | {"errors", "files", "gpu", "hosts", "locks", "signals", "storage"},
    {"augment", "nn", "losses", "pickles", "pixels", "random_keys"},
    {"models", "scenes", "data", "metrics"},
    {"train", "sampling", "visualize", "evaluate", "convert", "projection", "directions"},
    {"load", "experiment", "report", "viewer"},
    {"cli"},
    {"__main__"},
]
LEVEL_OF = {unit: level for level, units in enumerate(LEVELS) for unit in units}

# The package's own __init__ gathers the functional API; it stands outside the levels.
API_MAY_IMPORT = {
    "augment",
    "config",
    "errors",
    "nn",
    "models",
    "losses",
    "train",
    "convert",
    "load",
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def module_exists(module: str) -> bool:
    path = ROOT.parent.joinpath(*module.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def imported_modules(source: str, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Yields (line, module) for each import of this package, lazy and type-only ones included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == PACKAGE:
                    yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")[: None if is_package else -1]
                above = above[: len(above) - (node.level - 1)]
                base = ".".join([*above, *([base] if base else [])])
            if base.split(".")[0] != PACKAGE:
                continue
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield node.lineno, inner if module_exists(inner) else base


def complaint(importer: str, imported: str) -> str | None:
    """Says what is wrong with one module importing another, or None."""
    source, target = importer.split("."), imported.split(".")
    if len(source) == 1:  # ganformer_jax/__init__.py
        allowed = len(target) > 1 and target[1] in API_MAY_IMPORT
        return None if allowed else f"the API must not import {imported}"
    if len(target) == 1:
        return "imports the whole package, which stands above every level"
    for unit in (source[1], target[1]):
        if unit not in LEVEL_OF:
            return f"{unit} has no level: add it to LEVELS in {Path(__file__).name}"
    source_level, target_level = LEVEL_OF[source[1]], LEVEL_OF[target[1]]
    if source[1] == target[1] or target_level < source_level:
        return None
    if source_level == target_level == 0:
        return None  # reading a configuration raises what errors.py defines
    return f"imports {imported} (level {target_level}) from level {source_level}"


def complaints(root: Path) -> list[str]:
    found = []
    for path in sorted(root.rglob("*.py")):
        module = module_name(path)
        imports = imported_modules(path.read_text(), module, path.name == "__init__.py")
        for line, imported in imports:
            wrong = complaint(module, imported)
            if wrong:
                found.append(f"{path.relative_to(root.parent)}:{line}: {wrong}")
    return found


def test_no_import_climbs():
    assert list(ROOT.rglob("*.py"))
    assert not complaints(ROOT), "\n".join(complaints(ROOT))


def test_every_file_has_a_level():
    units = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert units - {"__init__", "__pycache__"} == set(LEVEL_OF)


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("ganformer_jax.nn.attention", "ganformer_jax.nn.layers", True),
        ("ganformer_jax.nn.attention", "ganformer_jax.config", True),
        ("ganformer_jax.config", "ganformer_jax.errors", True),
        ("ganformer_jax.config", "ganformer_jax.nn.layers", False),
        ("ganformer_jax.losses", "ganformer_jax.models.generator", False),
        ("ganformer_jax.metrics.frechet", "ganformer_jax.data", False),
        ("ganformer_jax.train.loop", "ganformer_jax.cli", False),
        ("ganformer_jax.cli", "ganformer_jax.train.loop", True),
        ("ganformer_jax.nn.attention", "ganformer_jax", False),
        ("ganformer_jax.utils", "ganformer_jax.config", False),
        ("ganformer_jax", "ganformer_jax.models.generator", True),
        ("ganformer_jax", "ganformer_jax.visualize", False),
    ],
)
def test_the_rule_itself(importer, imported, allowed):
    assert (complaint(importer, imported) is None) == allowed


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("import ganformer_jax.errors as e", "ganformer_jax.errors"),
        ("from ganformer_jax import errors", "ganformer_jax.errors"),
        ("from ganformer_jax.errors import UserError", "ganformer_jax.errors"),
        ("from .errors import UserError", "ganformer_jax.metrics.errors"),
        ("from ..errors import UserError", "ganformer_jax.errors"),
        ("from .. import errors", "ganformer_jax.errors"),
        ("def f():\n    from ganformer_jax import errors", "ganformer_jax.errors"),
        ("import os, jax", None),
    ],
)
def test_imports_are_found_however_they_are_written(statement, expected):
    found = [name for _, name in imported_modules(statement, "ganformer_jax.metrics.x", False)]
    assert found == ([] if expected is None else [expected])
