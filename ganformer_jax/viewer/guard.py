"""Access to the viewer: only for pages on this machine that send the token."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost", "[::1]")
"""Names of this machine; any port, as ssh forwards another one."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware that refuses foreign requests with 403, and adds headers to responses.

    Another host name in `Host` means that its owner made that name resolve to this machine (DNS
    rebinding). Another `Origin` means that a page of another site made the request.
    """

    def __init__(self, app: ASGIApp, token: str, open_paths: Iterable[str]):
        self._app, self._token, self._open_paths = app, token.encode(), frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        wrong = self._complaint(scope)
        answer = PlainTextResponse(f"{wrong}\n", 403) if wrong else self._app
        await answer(scope, receive, send_with_headers)

    def _complaint(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or _without_port(hosts[0]) not in HOSTS:
            return "the viewer is available at 127.0.0.1 and localhost only"
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{hosts[0]}":
            return "the viewer accepts requests of its own page only"
        if scope["path"] in self._open_paths:
            return None
        given = headers.get("x-token") or _query_token(scope)
        if not secrets.compare_digest(given.encode(), self._token):
            return "open the URL that the command printed, with its token"
        return None


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name.lower() if colon and port.isdecimal() else host.lower()


def _query_token(scope: Scope) -> str:
    query = parse_qs(scope["query_string"].decode("latin-1"))
    return query.get("token", [""])[0]
