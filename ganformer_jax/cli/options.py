"""Command lines to dataclasses, with tyro; what is wrong with one is said in one line."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import pathlib
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, get_type_hints

import tyro

from ganformer_jax.config import Config
from ganformer_jax.config_files import load_config
from ganformer_jax.errors import UserError

T = TypeVar("T")
_URL = re.compile("[a-z0-9]{2,}:/")

DEFAULT_CONFIG = pathlib.Path("configs/scenes.py")


def parse(default: T, arguments: Sequence[str], program: str) -> T:
    """Reads options into a dataclass.

    Args:
        default: An instance, whose values are the defaults.
        arguments: Without the command's name.
        program: As the help text calls it.

    Raises:
        SystemExit: With code 0 after --help, with code 2 after one line that says what is wrong.
    """
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            options, unknown = tyro.cli(
                type(default),
                args=list(arguments),
                default=default,
                prog=program,
                return_unknown_args=True,
            )
    except SystemExit as exit:
        if exit.code:
            _refuse(_first_sentence(complaint.getvalue()))
        raise
    if unknown:
        known = list(_flags(default))
        name = next((word for word in unknown if word.startswith("-")), None)
        if name is None:
            _refuse(f"unexpected argument {unknown[0]}")
        name = str(name).partition("=")[0]
        near = difflib.get_close_matches(name.replace("_", "-"), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"see {program} --help"
        _refuse(f"unknown option {name}; {hint}")
    for flag, value in _named(options):
        if isinstance(value, pathlib.Path) and _URL.match(str(value)):
            _refuse(f"{flag} {value}: name a folder or file of this machine")
        if isinstance(value, pathlib.Path) and value.parts[:1] == ("~",):
            _refuse(f"{flag} {value} is not what you mean: write it out, {value.expanduser()}")
    return options


def config_of(arguments: Sequence[str]) -> tuple[pathlib.Path, Config]:
    """Finds `--config` before the other options are read, since it gives their defaults."""
    path = DEFAULT_CONFIG
    for i, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name == "--config" and (equals or i + 1 < len(arguments)):
            path = pathlib.Path(value if equals else arguments[i + 1])
    return path, load_config(path)


def check_run(workdir: pathlib.Path, step: int | None, best: bool) -> None:
    """Checks the options that name a run and one of its checkpoints.

    Raises:
        UserError: When they exclude each other, or there is no such folder.
    """
    if best and step is not None:
        raise UserError("--best and --step exclude each other")
    if not workdir.is_dir():
        raise UserError(f"no run in {workdir}: name its folder with --workdir")


def _refuse(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def _flags(options: Any) -> Iterator[str]:
    """Lists the option names that tyro derives from a dataclass."""
    for flag, value in _named(options):
        yield flag
        if isinstance(value, bool):
            before, dot, name = flag.removeprefix("--").rpartition(".")
            yield f"--{before}{dot}no-{name}"


def _named(options: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Options by the names that tyro derives from a dataclass."""
    hints = get_type_hints(type(options), include_extras=True)
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        settings = [
            getattr(m, "name", None) for m in getattr(hints[field.name], "__metadata__", ())
        ]
        given = [name for name in settings if name is not None]  # by tyro.conf.arg(name=...)
        name = given[0] if given else field.name.replace("_", "-")
        if dataclasses.is_dataclass(value):
            yield from _named(value, f"{prefix}{name}." if name else prefix)
        else:
            yield f"--{prefix}{name}", value


def _first_sentence(box: str) -> str:
    """Takes the first paragraph out of the box that tyro draws around an error."""
    words: list[str] = []
    for line in box.splitlines():
        text = line.strip("│ ").strip()
        if text.startswith("╭"):
            continue
        if text.startswith(("─", "╰")):
            break
        words += text.split()
    return " ".join(words).removeprefix("Error parsing ") or "this command line makes no sense"
