"""The viewer's server, on this machine only."""

from __future__ import annotations

import os
import socket
import sys
import webbrowser

import uvicorn
from starlette.types import ASGIApp

from ganformer_jax.errors import UserError, os_reason

HOST = "127.0.0.1"


def bind(port: int) -> socket.socket:
    """Take a port; 0 for any that is free.

    Raises:
        UserError: If it is taken, or may not be used.
    """
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":  # elsewhere the option lets two programs share a port
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((HOST, port))
        taken.listen()
    except OSError as error:
        taken.close()
        raise UserError(
            f"--port {port}: {os_reason(error)}; choose another, or 0 for any that is free"
        ) from error
    return taken


def url(taken: socket.socket, token: str) -> str:
    """Return the address of the page."""
    return f"http://{HOST}:{taken.getsockname()[1]}/?token={token}"


def has_display() -> bool:
    """Return whether a browser could open a window for the user."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return "SSH_CONNECTION" not in os.environ


def open_browser(address: str) -> None:
    """Open a page in the user's browser, if there is a display and a browser."""
    if has_display():
        webbrowser.open(address)


def serve(app: ASGIApp, taken: socket.socket) -> None:
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
    uvicorn.Server(config).run(sockets=[taken])
