"""Command lines parsed into dataclasses by tyro, with one-line errors that name the option."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import math
import os
import pathlib
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, Union, get_type_hints

import tyro

from ganformer_jax.cli.help_texts import join_help
from ganformer_jax.config.ranges import FLOAT32_MAX
from ganformer_jax.errors import UserError, did_you_mean

DEFAULT_CONFIG = pathlib.Path("scenes")
DESCRIPTION = "GANformer in JAX. `COMMAND --help` lists the options of a command."
# Files and folders that this command would refuse to replace if it were started again.
_outputs: list[pathlib.Path] = []


class UsageError(UserError):
    """A command line that cannot be parsed; the exit code is 2."""


@dataclasses.dataclass(frozen=True)
class HostOptions:
    """Processes of a job; detected on TPU VMs, and under SLURM or Open MPI."""

    address: str | None = None
    """Host and port of the first process, such as 10.0.0.1:1234."""
    processes: int | None = None
    """Number of processes."""
    index: int | None = None
    """Number of this process, from 0."""
    wait: float = 30.0
    """Minutes to wait for the other processes."""

    def connect(self, preemption: bool = False) -> None:
        """Connect the processes, before jax looks for devices (`hosts.connect`)."""
        from ganformer_jax import hosts

        seconds = 60 * self.wait
        hosts.connect(self.address, self.processes, self.index, preemption, seconds)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Options that select a run and one of its checkpoints."""

    workdir: pathlib.Path = pathlib.Path("runs/scenes")
    """Folder of the run. Averaged weights are used where training keeps an average."""
    step: int | None = None
    """Step of the checkpoint to use; by default the newest."""
    best: bool = False
    """Use the checkpoint with the best metric."""

    def check_run(self) -> None:
        """Raise `UserError` if the options cannot be combined, or the folder is missing."""
        if self.best and self.step is not None:
            raise UserError("--best and --step cannot be combined: leave one of them out")
        if not self.workdir.is_dir():
            raise UserError(f"no run in {self.workdir}: name its folder with --workdir")

    def kind(self) -> str:
        """Return the run's kind of training, a key of `KINDS`; a file always holds a GAN."""
        from ganformer_jax.config.files import CONFIG_FILE, load_experiment
        from ganformer_jax.config.kinds import kind_of

        path = self.workdir / CONFIG_FILE
        return kind_of(load_experiment(path)) if path.is_file() else "gan"


def program() -> str:
    """Return the command that starts this program: run.py in a checkout, else the installed one."""
    return "python run.py" if pathlib.Path(sys.argv[0]).name == "run.py" else "ganformer-jax"


def parse(commands: Mapping[str, Any], arguments: Sequence[str]) -> Any:
    """Parse a command line; return the options of the command that it names.

    Args:
        commands: The default options of each command, a dataclass, by its name.
        arguments: The command line; `--help` raises `SystemExit` with code 0.
    """
    name = arguments[0] if arguments else "--help"
    if name not in commands and name not in ("-h", "--help"):
        near = did_you_mean(name, commands) or f"; the commands are {', '.join(commands)}"
        raise UsageError(f"unknown command {name}{near}")
    if name in commands and {"-h", "--help"} & {*arguments}:
        join_help(commands[name])
    subcommands = [
        Annotated[type(defaults), tyro.conf.subcommand(name, default=defaults)]
        for name, defaults in commands.items()
    ]
    options, unknown = _run_tyro(
        Union[tuple(subcommands)],  # noqa: UP007
        args=list(arguments) or ["--help"],
        prog=program(),
        description=DESCRIPTION,
    )
    if unknown:
        _refuse_unknown(unknown, options, f"{program()} {name} --help")
    empty = _empty_options(arguments)
    for flag, value in _flags(options):
        if isinstance(value, pathlib.Path):
            if flag in empty:  # of a variable that the shell does not know
                raise UsageError(f"{flag} is empty: name a folder or file, or leave it out")
            _check_local(flag, value)
        if "." not in flag:  # a config checks its own ranges, with better messages
            _check_finite(flag, value)
    return options


def config_option(arguments: Sequence[str]) -> pathlib.Path:
    """Return the value of `--config`, which decides the defaults of the other options."""

    def only(config: pathlib.Path = DEFAULT_CONFIG) -> pathlib.Path:
        return config

    path, _ = _run_tyro(only, args=list(arguments), add_help=False)
    _check_local("--config", path)
    return path


def stop_code_option(arguments: Sequence[str]) -> int:
    """Return the value of `train --stop-code`, even if the rest of the command line is invalid."""

    def only(stop_code: int = 0) -> int:
        return stop_code

    if arguments[:1] != ["train"]:
        return 0
    try:
        return _run_tyro(only, args=list(arguments), add_help=False)[0]
    except UsageError:
        return 0


def refuse_options(options: Any, known: Collection[str], reason: str) -> None:
    """Raise `UserError` if an option is given that does not apply.

    Args:
        options: Options of a command.
        known: Names of the fields that apply.
        reason: Start of the message, followed by "leave it out"; "OPTION" stands for the option.
    """
    hints = get_type_hints(type(options), include_extras=True)
    for field in dataclasses.fields(options):
        if getattr(options, field.name) != field.default and field.name not in known:
            name = _option_name(field.name, hints[field.name])
            raise UserError(f"{reason.replace('OPTION', f'--{name}')}: leave it out")


def refuse_without_effect(given: Mapping[str, bool], known: Collection[str], what: str) -> None:
    """Raise `UserError` if an option that is given has no effect.

    Args:
        given: Whether an option is given, by its name.
        known: Names of the options that have an effect.
        what: What the other options have no effect on, for the message.
    """
    for name in (name for name, is_given in given.items() if is_given and name not in known):
        option = name.replace("_", "-")
        raise UserError(f"--{option} has no effect on {what}: leave it out")


def refuse_overwriting(paths: Sequence[pathlib.Path], overwrite: bool) -> None:
    """Raise `UserError` if a file cannot be written, or exists and `--overwrite` was not given."""
    for folder in {path.parent for path in paths}:
        _check_folder(folder)
    if not overwrite:
        _outputs.extend(paths)
    existing = [path for path in paths if path.exists()]
    if existing and not overwrite:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        hint = "choose another --out, or --overwrite"
        raise UserError(f"{existing[0]}{more} would be replaced; {hint}")


def refuse_filled(folder: pathlib.Path, overwrite: bool) -> None:
    """Raise `UserError` if a folder cannot be written, or has files without `--overwrite`."""
    _check_folder(folder)
    if not overwrite:
        _outputs.append(folder)
        if _has_files(folder):
            raise UserError(f"{folder} has files: choose another --out, or --overwrite")


def forget_outputs() -> None:
    """Forget the outputs that earlier commands of this process checked."""
    _outputs.clear()


def repeated(arguments: Sequence[str]) -> list[str]:
    """Return the command line that restarts a stopped command and replaces what it has written."""
    written = any(_has_files(path) or path.is_file() for path in _outputs)
    return [*arguments, *(["--overwrite"] if written else [])]


def named(path: pathlib.Path) -> pathlib.Path:
    """Return a path whose last part is a name (except for `/`): `.` and `a/..` are resolved."""
    return path.resolve() if path.name in ("", "..") else path


def _has_files(folder: pathlib.Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _check_folder(folder: pathlib.Path) -> None:
    """Raise `UserError` if a path is not a folder, or the folder cannot be created or written."""
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise UserError(f"cannot write to {folder}: {there} is not a folder; choose another --out")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"cannot write to {folder}: {there} is not writable; choose another --out")


def _run_tyro(kind: Any, **settings: Any) -> tuple[Any, list[str]]:
    """Return what tyro parses, and the arguments that it does not know."""
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(kind, return_unknown_args=True, **settings)
    except SystemExit as exit:
        if not exit.code:
            raise
        raise UsageError(_first_paragraph(errors.getvalue())) from None


def _first_paragraph(box: str) -> str:
    """Return the message in the box that tyro draws around an error.

    tyro 1.0 offers no other way, and later releases only a private hook.
    """
    _title, *paragraphs = re.split("[─-]{5,}", box)  # rules are of ASCII where stdout is
    message = " ".join(paragraphs[0].strip("╮│ \n").split()) if paragraphs else ""
    message = message.replace(" │ │ ", " ").removeprefix("Error parsing ")
    return message or "cannot read this command line"


def _refuse_unknown(unknown: Sequence[str], options: Any, help_command: str) -> None:
    name = next((word.partition("=")[0] for word in unknown if word.startswith("-")), None)
    if name is None:
        raise UsageError(f"unexpected argument {unknown[0]}")
    known = [flag for flag, _ in _flags(options)]
    if name.removeprefix("--") in known:
        raise UsageError(f"unknown option {name}: leave it out, and keep what follows it")
    near = did_you_mean(name.replace("_", "-"), known) or f"; see {help_command}"
    raise UsageError(f"unknown option {name}{near}")


def _empty_options(arguments: Sequence[str]) -> set[str]:
    """Return the options whose value on a command line is the empty string."""
    flags = {flag for flag, word in itertools.pairwise(arguments) if not word}
    flags |= {word.removesuffix("=") for word in arguments if word.endswith("=")}
    return {flag.replace("_", "-") for flag in flags}


def _check_local(flag: str, path: pathlib.Path) -> None:
    if re.match("[a-z0-9]{2,}:/", str(path)):
        raise UsageError(f"{flag} {path}: name a folder or file of this machine")
    if path.parts[:1] == ("~",):
        raise UsageError(f"{flag} {path}: the shell did not expand ~; use {path.expanduser()}")


def _check_finite(flag: str, value: Any) -> None:
    for number in value if isinstance(value, tuple) else (value,):
        if not isinstance(number, float):
            continue
        if not math.isfinite(number):
            raise UserError(f"{flag} {number}: give a finite number")
        if abs(number) > FLOAT32_MAX:
            raise UserError(f"{flag} {number}: give a number that float32 holds, at most 3.4e38")


def _option_name(field: str, hint: Any) -> str:
    """Return the name of an option, as tyro spells it, by its field and the field's type."""
    settings = getattr(hint, "__metadata__", ())  # tyro.conf.arg(name=...)
    named = [s.name for s in settings if getattr(s, "name", None) is not None]
    return named[-1] if named else field.replace("_", "-")


def _flags(options: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every option, as tyro spells it, and its value; positional ones without dashes."""
    hints = get_type_hints(type(options), include_extras=True)
    for field in dataclasses.fields(options):
        value, name = getattr(options, field.name), _option_name(field.name, hints[field.name])
        if dataclasses.is_dataclass(value):
            yield from _flags(value, f"{prefix}{name}." if name else prefix)
            continue
        if tyro.conf.Positional in getattr(hints[field.name], "__metadata__", ()):
            yield name, value
            continue
        yield f"--{prefix}{name}", value
        if isinstance(value, bool):
            yield f"--{prefix}no-{name}", value
