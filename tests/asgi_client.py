"""Requests to an ASGI application, without a server."""

import asyncio
from typing import Any

import httpx


class Client:
    """Sends requests to an application, one at a time; headers are those of every request."""

    def __init__(self, app: Any, address: str, headers: dict[str, str] | None = None):
        self.app, self.address, self.headers = app, address, headers or {}

    def request(self, method: str, path: str, **given: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(
                transport=transport, base_url=self.address, headers=self.headers
            ) as client:
                return await client.request(method, path, **given)

        return asyncio.run(send())

    def get(self, path: str, **given: Any) -> httpx.Response:
        return self.request("GET", path, **given)

    def post(self, path: str, **given: Any) -> httpx.Response:
        return self.request("POST", path, **given)
