"""The web application of the viewer: requests in, images out."""

from __future__ import annotations

import base64
import importlib.resources
import io
import json
import math
import pathlib
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ganformer_jax.errors import UserError, one_line
from ganformer_jax.pixels import as_rgb, channel_words
from ganformer_jax.sampling import save_latents
from ganformer_jax.viewer.guard import Guard
from ganformer_jax.viewer.state import State
from ganformer_jax.viewer.viewed_generator import ViewedGenerator
from ganformer_jax.visualize import NO_COMPONENT, component_palette, save_png

PAGE = importlib.resources.files("ganformer_jax.viewer") / "page"
SCRIPTS = ("viewer.js", "state.js", "labels.js", "moving.js")
STATIC = {"viewer.css": "text/css"} | dict.fromkeys(SCRIPTS, "text/javascript")
MAX_BODY = 256 * 1024
"""Bytes of a request; a state of many components and numbers of a condition takes 20 kB."""


def make_app(viewed: ViewedGenerator, name: str, token: str) -> Starlette:
    """Return the application, once the generator is compiled and its first image is made.

    Args:
        viewed: The generator.
        name: Heading of the page.
        token: Secret that all requests must send, except for the style sheet and the scripts.
    """
    lock = threading.Lock()  # one image at a time: they share the cores

    def answer(make: Callable[[ViewedGenerator, State], Response]) -> Callable[..., Any]:
        def locked(data: object) -> Response:
            with lock:
                return make(viewed, viewed.parse(data))

        async def endpoint(request: Request) -> Response:
            try:
                return await run_in_threadpool(locked, await _json(request))
            except UserError as error:
                return JSONResponse({"error": str(error)}, 400)
            except Exception as error:  # from other libraries: the next request may succeed
                print(f"error: {one_line(error)}", file=sys.stderr)
                return JSONResponse({"error": one_line(error)}, 500)

        return endpoint

    facts = {"name": name, **generator_facts(viewed)}

    static = [Route(f"/{file}", _file(file, kind)) for file, kind in STATIC.items()]
    routes = [
        Route("/", _file("viewer.html", "text/html")),
        Route("/generator", lambda request: JSONResponse(facts)),
        Route("/view", answer(_view), methods=["POST"]),
        Route("/image.png", answer(_png), methods=["POST"]),
        Route("/latents.npz", answer(_latents), methods=["POST"]),
    ]
    open_paths = frozenset(route.path for route in static)
    guard = Middleware(Guard, token=token, open_paths=open_paths)
    return Starlette(routes=[*static, *routes], middleware=[guard])


def new_token() -> str:
    """Return a token that cannot be guessed."""
    return secrets.token_urlsafe(24)


def generator_facts(viewed: ViewedGenerator) -> dict[str, Any]:
    """Return the facts about a generator that the page needs, as JSON values."""
    config, labels, start = viewed.config, viewed.labels, viewed.start
    height, width = viewed.view(start).image.shape[:2]
    palette = component_palette(viewed.components).tolist()
    return {
        "height": height,
        "width": width,
        "components": viewed.components,
        "places": viewed.places,
        "latents": config.num_latents,
        "global": viewed.has_global,
        "palette": palette,
        "nothing": list(NO_COMPONENT),
        "layers": viewed.layer_sizes,
        "noise": config.synthesis.noise,
        "labels": {"kind": labels.kind, "names": labels.names},
        "channels": channel_words(config.image_channels),
        "start": {"seed": start.seed, "psi": start.psi, "label": start.label, "noise": start.noise},
    }


def _view(viewed: ViewedGenerator, state: State) -> Response:
    began = time.perf_counter()
    view = viewed.view(state)
    segments = view.segments
    changes = [
        [None if math.isnan(value) else round(value, 3) for value in pair]
        for pair in view.changes.tolist()
    ]
    seen = {
        "image": _text(_shown(view.image)),
        "segments": None if segments is None else _text(segments.astype("<u2").tobytes()),
        "size": None if segments is None else segments.shape,
        "change": round(view.change, 3),
        "changes": changes,
    }
    seen["milliseconds"] = round(1000 * (time.perf_counter() - began), 1)
    return JSONResponse(seen)


def _shown(image_HxWxC: np.ndarray) -> bytes:
    """Return a PNG in color, compressed quickly."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(as_rgb(image_HxWxC[None])[0])).save(
        file, "png", compress_level=1
    )
    return file.getvalue()


def _png(viewed: ViewedGenerator, state: State) -> Response:
    image = viewed.view(state).image
    content = _written(lambda path: save_png(path, image), "image.png")
    return Response(content, media_type="image/png")


def _latents(viewed: ViewedGenerator, state: State) -> Response:
    latents = viewed.latents(state)
    content = _written(
        lambda path: save_latents(path, latents, viewed.weights, state.noise), "latents.npz"
    )
    return Response(content, media_type="application/octet-stream")


def _written(write: Callable[[pathlib.Path], None], name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / name
        write(path)
        return path.read_bytes()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


async def _json(request: Request) -> object:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise UserError(f"the request is larger than {MAX_BODY} bytes")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UserError("the request is not JSON") from error


def _file(name: str, kind: str) -> Callable[[Request], Response]:
    content = (PAGE / name).read_text(encoding="utf-8")
    return lambda request: PlainTextResponse(content, media_type=kind)
