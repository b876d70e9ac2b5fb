"""Standard output and standard error that a command survives the loss of."""

from __future__ import annotations

import contextlib
import select
import sys
from collections.abc import Iterator
from typing import Any


class _Lenient:
    """A text stream that drops what cannot be written, as to a closed pipe or a full disk."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text if possible."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if possible."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def lenient_streams() -> Iterator[None]:
    """Keep the command running inside the context if its terminal or log file is lost."""
    out: Any = _Lenient(sys.stdout)
    err: Any = _Lenient(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield


def output_is_gone() -> bool:
    """Return whether the reader of standard output is gone, as after `| head`.

    This tells a `BrokenPipeError` of standard output from one of network storage. Where the system
    cannot tell, the error is taken to be that of standard output.
    """
    if not hasattr(select, "poll"):
        return True
    polled = select.poll()
    polled.register(sys.stdout.fileno(), 0)
    gone = select.POLLERR | select.POLLHUP | select.POLLNVAL
    return any(events & gone for _, events in polled.poll(0))
