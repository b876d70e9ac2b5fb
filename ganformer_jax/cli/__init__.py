"""The command line: a module for each command, such as `train`.

Each command is a module with a dataclass `Options` and a function `run(options)`. An error is
reported in one line on standard error. The exit code is 2 for a command line that cannot be parsed,
75 for a failure that may be temporary, and 1 for any other error. SIGINT, SIGTERM and SIGHUP end a
command with exit code 0.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
import traceback
from collections.abc import Sequence

from ganformer_jax import hosts
from ganformer_jax.cli import (
    directions,
    edit,
    evaluate,
    export,
    import_snapshot,
    prepare,
    project,
    report,
    sample,
    train,
    view,
    visualize,
)
from ganformer_jax.cli.options import (
    UsageError,
    forget_outputs,
    parse,
    program,
    repeated,
    stop_code_option,
)
from ganformer_jax.cli.streams import output_is_gone
from ganformer_jax.errors import UserError, one_line, os_reason
from ganformer_jax.files import allow_open_files
from ganformer_jax.gpu import prepare_gpu
from ganformer_jax.signals import Stopped, clean_up, interruptibly, stop_on_signals
from ganformer_jax.storage import exit_code, is_transient

COMMANDS = {
    "prepare": prepare,
    "train": train,
    "sample": sample,
    "visualize": visualize,
    "view": view,
    "project": project,
    "directions": directions,
    "edit": edit,
    "evaluate": evaluate,
    "report": report,
    "import": import_snapshot,
    "export": export,
}

RESUMABLE = ("prepare", "train", "sample")
"""Commands that continue where they were stopped; the others start over."""
INTERRUPTIBLE = ("sample", "view", "evaluate", "report")
"""Commands that a signal may end even during compilation, since they leave no partial state."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command.

    Args:
        argv: Name of the command and its options; by default those of the process.

    Raises:
        SystemExit: With the exit code, if it is not 0.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _quiet_libraries()
    forget_outputs()
    allow_open_files()
    prepare_gpu()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # File names may have any characters, and a log is read while a command runs.
            stream.reconfigure(errors="replace", line_buffering=True)
    try:
        with stop_on_signals():
            _run(arguments)
            hosts.finish()
    except Stopped as stop:
        clean_up()
        with contextlib.suppress(OSError):
            if hosts.is_first():
                again = "resume" if arguments and arguments[0] in RESUMABLE else "start again"
                print(f"stopped; to {again}: {program()} {shlex.join(repeated(arguments))}")
        code = stop_code_option(arguments)
        if stop.agreed:
            hosts.finish(code)
        hosts.end_all("stopped", code)
        hosts.end(code)
    except KeyboardInterrupt:  # not by a signal
        _fail("interrupted", code=130)
    except UsageError as error:
        _fail(str(error), code=2)
    except UserError as error:
        _fail(str(error), exit_code(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError) and hosts.count() == 1 and output_is_gone():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor an error at exit
            return
        where = f" {error.filename}" if error.filename else ""
        _fail(f"cannot read or write{where}: {os_reason(error)}", exit_code(error))
    except Exception as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            _fail(
                "out of memory on the device: use a smaller batch size; GANs can also be trained "
                "with --train.accumulate 2 or --train.rematerialize"
            )
        # Other processes would wait for this one; a temporary failure has an exit code of its own.
        if hosts.count() > 1 or is_transient(error):
            hosts.let_cause_end()
            traceback.print_exc()
            _fail(one_line(error), exit_code(error))
        raise


def _run(arguments: list[str]) -> None:
    if arguments[:1] == ["config"]:
        raise UsageError("`config` was replaced by `train --dry-run`, which takes the same options")
    defaults = {name: command.Options() for name, command in COMMANDS.items()}
    if arguments[:1] == ["train"]:
        defaults["train"] = train.defaults(arguments[1:])
    options = parse(defaults, arguments)
    command = COMMANDS[arguments[0]]
    if arguments[0] in INTERRUPTIBLE:
        interruptibly(lambda: command.run(options))
    else:
        command.run(options)


def _fail(message: str, code: int = 1) -> None:
    message = " ".join(message.split())
    print(f"error: {message}", file=sys.stderr)
    hosts.end_all(message, code)
    raise SystemExit(code)


def _quiet_libraries() -> None:
    """Silence the logs of TensorFlow's C++ code, absl and jax."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from absl import logging

    logging.set_verbosity(logging.ERROR)
    logging.set_stderrthreshold("error")
