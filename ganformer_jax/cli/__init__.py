"""The command line: `prepare`, `train`, `sample`, `evaluate`, `import`, `export`, `config`.

A mistake of the user ends in one line on standard error: exit code 2 for a command line that
makes no sense, 1 for everything else.
"""

from __future__ import annotations

import difflib
import importlib
import io
import os
import pathlib
import sys
from collections.abc import Sequence

from ganformer_jax.errors import UserError

COMMANDS = {
    "prepare": "turn pictures into a dataset to train on",
    "train": "train a run, or continue it",
    "sample": "write images and attention maps from a run",
    "evaluate": "measure how good the images of a run, or of a folder, are",
    "import": "make a run out of a published snapshot",
    "export": "write a run's generator to one file",
    "config": "print the experiment that options add up to",
}
MODULES = {"import": "import_snapshot"}  # where a module cannot have the command's name


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command.

    Args:
        argv: Its name and options; by default those of the process.

    Raises:
        SystemExit: With the exit code, when it is not 0.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    program = pathlib.Path(sys.argv[0]).name
    _quiet_libraries()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # names of files may be of any alphabet
    try:
        _dispatch(arguments, program)
    except UserError as error:
        _fail(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # say nothing at exit
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        _fail(f"cannot read or write{where}: {error.strerror or error}")
    except KeyboardInterrupt:
        _fail("interrupted", code=130)
    except Exception as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        _fail("out of memory on the device: lower the batch size or the channels")


def _dispatch(arguments: list[str], program: str) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: {program} COMMAND [OPTIONS]; {program} COMMAND --help lists the options\n")
        print("\n".join(f"  {name:10}{help}" for name, help in COMMANDS.items()))
        return
    name = arguments[0]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
        _fail(f"unknown command {name}; {hint}", code=2)
    command = importlib.import_module(f"ganformer_jax.cli.{MODULES.get(name, name)}")
    command.run(arguments[1:], f"{program} {name}")


def _fail(message: str, code: int = 1) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(code)


def _quiet_libraries() -> None:
    """Silences what TensorFlow's C++, absl and jax say about themselves."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from absl import logging

    logging.set_verbosity(logging.ERROR)
    logging.set_stderrthreshold("error")
