"""Locks of folders against other commands, on this host and, where disks are shared, on others."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import time
from collections.abc import Callable, Iterator

from ganformer_jax.errors import TemporaryError, UserError, os_reason
from ganformer_jax.files import CANNOT_WRITE

try:
    import fcntl
except ImportError:  # outside POSIX
    fcntl = None

_LOCK = ".lock"
_POLL = 2.0  # seconds
_BOOT = pathlib.Path("/proc/sys/kernel/random/boot_id")  # of Linux
patience = 180.0
"""Seconds to wait for another host, whose locks a shared disk keeps for a while after its end.

A host that started again, or a pod of the same name elsewhere, is another one too.
"""


@contextlib.contextmanager
def exclusive_lock(
    folder: pathlib.Path, purpose: str, say: Callable[[str], None]
) -> Iterator[None]:
    """Lock an existing folder against other processes; the lock ends with the process.

    Where there are no locks, as on some mounted disks and outside POSIX, `say` receives a warning,
    and nothing is locked. The file `.lock` names the process that has the lock.

    Args:
        folder: What to lock.
        purpose: What a process does with the folder, for messages: "preparing".
        say: Receives the warning.

    Raises:
        UserError: If another process holds the lock; at once if it is of this host, or else, as
            `TemporaryError`, after `patience`.
    """
    if fcntl is None:
        say(f"warning: no locks on this system; nothing keeps another command from {purpose} it")
        yield
        return
    with contextlib.ExitStack() as stack:
        deadline, announced = time.monotonic() + patience, False
        while True:
            try:
                stack.enter_context(_locked(folder))
                break
            except BlockingIOError as error:
                host, words, is_here = _holder(folder)
                held = f"another process is {purpose} {folder}{words}"
                if is_here:
                    raise UserError(f"{held}: wait until it ends") from error
                if time.monotonic() > deadline:
                    hint = f"wait until it ends, or delete {folder / _LOCK} if {host} is gone"
                    raise TemporaryError(f"{held}: {hint}") from error
                if not announced:
                    say(f"{held}: waiting for up to {patience:.0f} s")
                announced = True
                time.sleep(_POLL)
            except OSError as error:
                if error.errno in CANNOT_WRITE:
                    raise
                say(
                    f"warning: cannot lock {folder} ({os_reason(error)}); nothing keeps others "
                    f"from {purpose} it"
                )
                break
        yield


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[None]:
    """Lock a folder, and name this process in it.

    Raises:
        BlockingIOError: If it is locked.
        OSError: If it cannot be.
    """
    assert fcntl is not None
    # A disk of the network locks files that are open for writing, for all hosts; the folder itself,
    # which earlier versions locked, is locked for this host alone.
    with contextlib.ExitStack() as stack:
        for path, flags in ((folder, os.O_RDONLY), (folder / _LOCK, os.O_RDWR | os.O_CREAT)):
            handle = os.open(path, flags, 0o666)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(OSError):  # a full disk
            os.ftruncate(handle, 0)
            os.write(handle, f"{socket.gethostname()} {os.getpid()} {_boot()}\n".encode())
        yield


def _holder(folder: pathlib.Path) -> tuple[str, str, bool]:
    """Return the host of the process that has the lock, words for it, and whether it is this host.

    If the process is unknown, it is taken to be of this host.
    """
    try:
        host, process, *boot = (folder / _LOCK).read_text().split()
    except (OSError, ValueError):  # of an earlier version, or being written
        return "", "", True
    is_here = host == socket.gethostname() and boot in ([], [_boot()])
    return host, f" ({process} on {host})", is_here


def _boot() -> str:
    """Return what is another string after every start of this host; "" where there is none."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
