"""Writers of the log of a run: JSON lines and TensorBoard, neither of which a full disk breaks."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import pathlib
import socket
import struct
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ganformer_jax.errors import UserError, os_reason
from ganformer_jax.files import json_line, write_atomically

if TYPE_CHECKING:
    from jaxtyping import UInt8

IMAGE_SIDE = 1024
"""Pixels of the longer side of logged images; larger ones are reduced, for the sake of the disk."""


class Writer(Protocol):
    """A destination of a log. Failures raise `OSError` or `UserError`; later calls may succeed.

    `step` never decreases, and `images_seen` belongs to it.
    """

    name: str
    """Its name in messages."""
    takes_images: bool

    def write_numbers(self, step: int, images_seen: int, values: Mapping[str, float]) -> None:
        """Write the numbers of a step."""

    def write_image(self, step: int, images_seen: int, name: str, jpeg: bytes) -> None:
        """Write an image of a step."""


class BestEffort:
    """Calls of functions whose failure must not end training, such as those that write logs.

    Args:
        say: Receives a warning at the first failure, and again if there was a success since.
    """

    def __init__(self, say: Callable[[str], None]):
        self._say, self._failed = say, False

    def __call__(self, name: str, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function; `name` is what it writes, for the warning."""
        try:
            function(*arguments)
        except (OSError, UserError) as error:
            if not self._failed:
                reason = os_reason(error) if isinstance(error, OSError) else str(error)
                self._say(f"warning: {name} is not written ({reason}); training continues")
            self._failed = True
        else:
            self._failed = False


def append(path: pathlib.Path, contents: bytes) -> None:
    """Append all bytes to a file or, if that fails with `OSError`, none.

    The file does not stay open: a network disk may lose open files when its server restarts, and a
    mounted bucket may store files only when they are closed.
    """
    with path.open("ab", buffering=0) as file:
        end, left = file.seek(0, os.SEEK_END), memoryview(contents)
        try:
            while left:
                left = left[file.write(left) :]
        except OSError:
            file.truncate(end)
            raise


class JsonLines:
    """`metrics.jsonl`: a line for each report, with the keys "step", "kimg" and "time".

    Args:
        path: The file. Lines of steps after `start`, which a resumed run repeats, are dropped, and
            so are damaged ones of a run that resumes, and all of one that begins anew.
        start: Steps done so far; 0 of a run that begins.

    Raises:
        UserError: If a new run finds lines that are not of a run.
    """

    name, takes_images = "metrics.jsonl", False

    def __init__(self, path: pathlib.Path, start: int):
        if path.exists():
            stored = path.read_bytes()
            lines = stored.decode(errors="replace").splitlines(keepends=True)
            complete = [line for line in lines if line[-1] == "\n"]
            # A run that begins anew measures its untrained networks again.
            kept = "".join(line for line in complete if _step(path, line, start) <= (start or -1))
            _keep(path, stored, kept.encode())
        self._path = path

    def write_numbers(self, step: int, images_seen: int, values: Mapping[str, float]) -> None:
        """Append a line."""
        line = {"step": step, "kimg": images_seen / 1000, "time": time.time(), **values}
        append(self._path, json_line(line).encode())

    def write_image(self, step: int, images_seen: int, name: str, jpeg: bytes) -> None:
        """Raise: images have files of their own."""
        raise NotImplementedError


class TensorBoard:
    """An event file of TensorBoard, whose horizontal axis is the step.

    tensorboardX has the formats. Its own writer has a thread and a queue: after a failure the
    thread ends, the queue fills, and training would wait forever.

    Args:
        folder: Receives one file for each start of the run.
        start: Steps done so far; TensorBoard drops what it knows of later steps.
    """

    name, takes_images = "tensorboard", True

    def __init__(self, folder: pathlib.Path, start: int):
        from tensorboardX.proto import event_pb2, summary_pb2

        event: Any = event_pb2  # whose classes are made when it is imported
        summary: Any = summary_pb2
        self._Event, self._Summary = event.Event, summary.Summary
        host = f"{socket.gethostname()}.{os.getpid()}"
        self._path = folder / f"events.out.tfevents.{time.time():.0f}.{host}"
        session = event.SessionLog(status=event.SessionLog.START)
        self._header = self._record(file_version="brain.Event:2")
        self._header += self._record(step=start + 1, session_log=session)

    def write_numbers(self, step: int, images_seen: int, values: Mapping[str, float]) -> None:
        """Append one event with all numbers."""
        scalars = [self._Summary.Value(tag=n, simple_value=v) for n, v in values.items()]
        self._append(step=step, summary=self._Summary(value=scalars))

    def write_image(self, step: int, images_seen: int, name: str, jpeg: bytes) -> None:
        """Append one event with an image."""
        image = self._Summary.Image(colorspace=3, encoded_image_string=jpeg)
        image.width, image.height = _size(jpeg)
        value = self._Summary.Value(tag=name, image=image)
        self._append(step=step, summary=self._Summary(value=[value]))

    def _append(self, **fields: Any) -> None:
        """Append an event, and before the first one what the file begins with."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        append(self._path, self._header + self._record(**fields))
        self._header = b""

    def _record(self, **fields: Any) -> bytes:
        """Encode an event as a record of a TFRecord file: length, contents, and checksums."""
        from tensorboardX.record_writer import masked_crc32c

        data = self._Event(wall_time=time.time(), **fields).SerializeToString()
        length = struct.pack("<Q", len(data))
        checksums = (struct.pack("<I", masked_crc32c(part)) for part in (length, data))
        return length + next(checksums) + data + next(checksums)


def encode_jpeg(image_HxWxC: UInt8[np.ndarray, "h w *c"], side: int = IMAGE_SIDE) -> bytes:
    """Encode an image as JPEG of quality 90, RGB, at most `side` pixels wide and high."""
    from PIL import Image

    image = Image.fromarray(np.squeeze(image_HxWxC)).convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)  # never enlarges
    buffer = io.BytesIO()
    image.save(buffer, format="jpeg", quality=90)
    return buffer.getvalue()


def _size(jpeg: bytes) -> tuple[int, int]:
    from PIL import Image

    return Image.open(io.BytesIO(jpeg)).size


def _keep(path: pathlib.Path, stored: bytes, kept: bytes) -> None:
    """Shorten a file to what is kept of it; replace it, which needs space, only if that fails."""
    if stored == kept:
        return
    if stored.startswith(kept):
        with contextlib.suppress(OSError):  # of a disk that cannot shorten files
            os.truncate(path, len(kept))
            return
    write_atomically(path, kept)


def _step(path: pathlib.Path, line: str, start: int) -> float:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        if start:
            return math.inf
        raise UserError(f"{path} has a line that is not of a run: {line.strip()[:80]}") from error
