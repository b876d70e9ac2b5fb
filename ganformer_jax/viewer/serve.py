"""The viewer's server, on this machine only."""

from __future__ import annotations

import contextlib
import html
import os
import pathlib
import socket
import sys
import tempfile
import webbrowser
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from ganformer_jax.errors import UserError, os_reason
from ganformer_jax.signals import at_end

HOST = "127.0.0.1"
REDIRECT = """<!DOCTYPE html>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={address}">
<title>GANformer viewer</title>
<a href="{address}">GANformer viewer</a>
"""


def bind(port: int) -> socket.socket:
    """Bind a port; 0 for any free port.

    Raises:
        UserError: If it is in use or not permitted.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":  # elsewhere the option lets two programs share a port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise UserError(
            f"--port {port}: {os_reason(error)}; choose another, or 0 for any that is free"
        ) from error
    return listener


def url(listener: socket.socket, token: str) -> str:
    """Return the address of the page."""
    return f"http://{HOST}:{listener.getsockname()[1]}/?token={token}"


def has_display() -> bool:
    """Return whether a browser could open a window for the user."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return "SSH_CONNECTION" not in os.environ


@contextlib.contextmanager
def opened_in_browser(address: str) -> Iterator[None]:
    """Open a page in the user's browser, if there is a display and a browser.

    Other users can see command lines. The browser's therefore names a file that only this user can
    read and that redirects to the page; it is removed at the end.
    """
    if not has_display():
        yield
        return
    folder = tempfile.TemporaryDirectory(prefix="ganformer-view-")
    with at_end(folder.cleanup):
        path = pathlib.Path(folder.name) / "open.html"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(REDIRECT.format(address=html.escape(address)))
        webbrowser.open(path.as_uri())
        yield


def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Serve until the process ends."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        http="h11",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run(sockets=[listener])
