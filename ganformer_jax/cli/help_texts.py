"""Help of options as paragraphs; tyro would break them where lines of the source end."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
import types
from typing import Any


def join_help(options: Any) -> None:
    """Give each field of a dataclass, and of those in it, its docstring in one line as help.

    Args:
        options: A dataclass whose fields have docstrings under them.
    """
    documented = _documented(type(options))
    for field in dataclasses.fields(options):
        if field.name in documented:
            # tyro reads a field's help from here before it looks for docstrings.
            help_text = {"help": documented[field.name]}
            field.metadata = types.MappingProxyType({**field.metadata, **help_text})
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            join_help(value)


def _documented(kind: type[Any]) -> dict[str, str]:
    """Return the docstrings under the fields of a class and its bases, each in one line."""
    found = {}
    for each in reversed(kind.__mro__[:-1]):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        assert isinstance(definition, ast.ClassDef)
        for pair in itertools.pairwise(definition.body):
            match pair:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(words))),
                ):
                    found[name] = " ".join(words.split())
    return found
