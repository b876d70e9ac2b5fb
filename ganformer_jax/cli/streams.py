"""Standard output and standard error, whose loss does not end a command."""

from __future__ import annotations

import contextlib
import select
import sys
from collections.abc import Iterator
from typing import Any


class _Lenient:
    """A text stream; what cannot be written, as to a closed pipe or a full disk, is dropped."""

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
    """Inside, a terminal or a log file that is lost does not end the command."""
    out: Any = _Lenient(sys.stdout)
    err: Any = _Lenient(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield


def output_is_gone() -> bool:
    """Return whether nobody reads standard output any more, as after `| head`.

    Storage raises the same error. Where the system cannot tell, it is the output's.
    """
    if not hasattr(select, "poll"):
        return True
    polled = select.poll()
    polled.register(sys.stdout.fileno(), 0)
    gone = select.POLLERR | select.POLLHUP | select.POLLNVAL
    return any(events & gone for _, events in polled.poll(0))
