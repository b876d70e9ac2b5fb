"""Plain words, and shapes in the letters of the table in CONTRIBUTING.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ganformer_jax"

TABLE_ROW = re.compile(r"^\| ([A-Z](?:, [A-Z])*) \|", re.MULTILINE)
SHAPE_SUFFIX = re.compile(r"_((?:[A-Z]|\d+)(?:x(?:[A-Z]|\d+))*)$")
DIMENSION = re.compile(r"\d+|[a-z]\d?|\*[a-z]+|\.\.\.")
ARRAY_TYPES = {"Bool", "Complex", "Float", "Inexact", "Int", "Integer", "Key", "Num", "Shaped"}
ARRAY_TYPES |= {"UInt", "UInt8"}


def letters_of_the_table() -> set[str]:
    axes = (ROOT / "CONTRIBUTING.md").read_text().split("## Axes")[1]
    return {letter for row in TABLE_ROW.findall(axes) for letter in row.split(", ")}


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every identifier."""
    for node in ast.walk(tree):
        for field in ("id", "arg", "attr", "name"):
            name = getattr(node, field, None)
            if isinstance(name, str):
                yield getattr(node, "lineno", 0), name


def dimension_strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the dimensions of every jaxtyping annotation, `Float[Array, "b c"]`."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple)):
            continue
        if not node.slice.elts:  # tuple[()]
            continue
        kind = node.value.attr if isinstance(node.value, ast.Attribute) else node.value
        kind = kind.id if isinstance(kind, ast.Name) else kind
        last = node.slice.elts[-1]
        if kind in ARRAY_TYPES and isinstance(last, ast.Constant) and isinstance(last.value, str):
            yield node.lineno, last.value


def complaints(source: str, letters: set[str]) -> list[str]:
    """List what does not follow the table, as "line: name"."""
    tree, found = ast.parse(source), []
    for line, name in names(tree):
        suffix = SHAPE_SUFFIX.search(name)
        axes = suffix[1].split("x") if suffix else []
        if any(axis.isalpha() and axis not in letters for axis in axes):
            found.append(f"{line}: {name}")
    for line, dimensions in dimension_strings(tree):
        for dimension in re.split(r"\s+|(?<=\w)[*+-]", dimensions.strip() or "1"):
            known = DIMENSION.fullmatch(dimension)
            letter = dimension[0].upper() if known and dimension[0].isalpha() else None
            if not known or (letter and letter not in letters):
                found.append(f"{line}: {dimensions!r}")
                break
    return sorted(set(found))


def test_shapes_use_the_letters_of_the_table():
    letters, found = letters_of_the_table(), []
    assert {"B", "H", "W", "F", "T"} <= letters
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE)
        found += [f"{inside}:{line}" for line in complaints(path.read_text(), letters)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x_BxC = kernel_3x3xC", []),
        ("x_BxZ = y", ["1: x_BxZ"]),
        ("def f(a, x_Z): pass", ["1: x_Z"]),
        ("f(x_BxZ=1)", ["1: x_BxZ"]),
        ("PEAK_C = TOTAL_ = x_shape = LAYOUT", []),
        ('x: Float[Array, " b"]', []),
        ('x: Float[Array, "*batch c"] | Int[Array, ""]', []),
        ('x: Float[Array, "b 2*h h2 1 ... n*c"]', []),
        ('x: Float[Array, "b z"]', ["1: 'b z'"]),
        ('x: jaxtyping.Float[Array, "batch c"]', ["1: 'batch c'"]),
        ('x: dict[str, "batch"]', []),
    ],
)
def test_the_rule_itself(source, expected):
    assert complaints(source, {"B", "C", "H", "N"}) == expected


FORBIDDEN = re.compile(
    r"\b(pictures?|Game|Players|plays|judged?|Judged|adopt|Carried|so many|goes on|gone on with|"
    r"lets go of|strangers?|small letters|is no dict|"
    r"(?:normal|initial|regular|optim|serial)is(?:e|ed|es|er|ers|ing|ation)|colours?|grey|"
    r"centres?|neighbours?|behaviours?|default_backend)\b"
)


def test_plain_words():
    """The field's words in American spelling; platforms are chosen when a program is lowered."""
    found = []
    for path in [*sorted(PACKAGE.rglob("*.py")), *sorted((ROOT / "configs").glob("*.py"))]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if FORBIDDEN.search(
                re.sub('["`]colour["`]', "", line)
            ):  # a name in datasets that exist
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not found, "\n".join(found)
