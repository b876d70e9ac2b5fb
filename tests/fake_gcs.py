"""Enough of Google Cloud Storage's JSON API to read from: a folder, served as one bucket."""

import base64
import contextlib
import http.server
import json
import pathlib
import re
import threading
import urllib.parse
import zlib
from collections.abc import Iterator

BUCKET = "bucket"
_OBJECTS = re.compile(rf"(?:/download)?/storage/v1/b/{BUCKET}/o(?:/(?P<name>[^/?]+))?")
_RANGE = re.compile(r"bytes=(?P<first>\d*)-(?P<last>\d*)")


@contextlib.contextmanager
def serve(folder: pathlib.Path) -> Iterator[dict[str, str]]:
    """Yields the environment in which both gcsfs and ArrayRecord's reader find the bucket."""
    handler = type("Bucket", (_Handler,), {"folder": folder})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield {
            "STORAGE_EMULATOR_HOST": endpoint,
            "CLOUD_STORAGE_EMULATOR_ENDPOINT": endpoint,
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # or it asks over gRPC, encrypted
        }
    finally:
        server.shutdown()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder = pathlib.Path()

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        match = _OBJECTS.fullmatch(url.path)
        if match is None:
            self._answer(404, b"{}")
        elif match["name"] is None:
            self._list(query.get("prefix", ""), query.get("delimiter", ""))
        else:
            self._object(urllib.parse.unquote(match["name"]), query.get("alt") == "media")

    def _list(self, prefix: str, delimiter: str) -> None:
        files = [path for path in sorted(self.folder.rglob("*")) if path.is_file()]
        names = [path.relative_to(self.folder).as_posix() for path in files]
        names = [name for name in names if name.startswith(prefix)]
        below = {
            name: delimiter and name.removeprefix(prefix).partition(delimiter) for name in names
        }
        folders = sorted(
            {prefix + parts[0] + "/" for parts in below.values() if parts and parts[1]}
        )
        items = [
            _facts(self.folder, name) for name, parts in below.items() if not (parts and parts[1])
        ]
        self._answer(200, json.dumps({"items": items, "prefixes": folders}).encode())

    def _object(self, name: str, contents: bool) -> None:
        path = self.folder / name
        if not path.is_file():
            self._answer(404, b"{}")
        elif contents:
            self._contents(path.read_bytes())
        else:
            self._answer(200, json.dumps(_facts(self.folder, name)).encode())

    def _contents(self, stored: bytes) -> None:
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        if wanted is None:
            return self._answer(200, stored)
        first, last = wanted["first"], wanted["last"]
        start = int(first) if first else max(0, len(stored) - int(last))
        stop = min(len(stored), int(last) + 1) if first and last else len(stored)
        headers = {"Content-Range": f"bytes {start}-{stop - 1}/{len(stored)}"}
        self._answer(206, stored[start:stop], headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        if LOG:
            print(arguments, self.headers.get("Range"), flush=True)


LOG = False


def _facts(folder: pathlib.Path, name: str) -> dict[str, str]:
    path = folder / name
    checksum = base64.b64encode(zlib.crc32(path.read_bytes()).to_bytes(4)).decode()
    return {
        "kind": "storage#object",
        "bucket": BUCKET,
        "name": name,
        "id": name,
        "etag": checksum,
        "generation": "1",
        "metageneration": "1",
        "size": str(path.stat().st_size),
        "storageClass": "STANDARD",
        "contentType": "application/octet-stream",
        "timeCreated": "2026-01-01T00:00:00.000Z",
        "updated": "2026-01-01T00:00:00.000Z",
    }
