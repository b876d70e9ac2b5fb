"""Requests to the viewer: what it answers, and whom and what it refuses."""

import base64
import io
import json
import re

import numpy as np
import pytest
from asgi_client import Client
from PIL import Image
from viewed import KINDS, variables_of, viewed

from ganformer_jax.errors import UserError
from ganformer_jax.pixels import as_rgb
from ganformer_jax.sampling import Synthesizer, read_latents
from ganformer_jax.viewer.app import MAX_BODY, PAGE, make_app

SWAP = {"component": 0, "kind": "swap", "seed": 1}
MOVE = {"component": 0, "kind": "move", "x": 0.5}


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("ganformer", [], "the state must be a JSON object"),
        ("ganformer", {"sead": 1}, "unknown field 'sead'; did you mean seed?"),
        ("ganformer", {"seed": -1}, "seed must be a whole number from 0 to 4294967295"),
        ("ganformer", {"seed": 2**32}, "seed must be a whole number from 0 to 4294967295"),
        ("ganformer", {"seed": True}, "seed must be a whole number"),
        ("ganformer", {"seed": 1.0}, "seed must be a whole number"),
        ("ganformer", {"psi": float("nan")}, "psi must be a number from -2 to 2"),
        ("ganformer", {"psi": "1"}, "psi must be a number from -2 to 2"),
        ("ganformer", {"psi": 10**400}, "psi must be a number from -2 to 2"),
        ("ganformer", {"noise": "loud"}, "noise must be one of const, random, none"),
        ("ganformer", {"noise": ["const"]}, "noise must be one of const, random, none"),
        ("ganformer", {"label": 0}, "label: the generator takes none"),
        ("ganformer", {"layer": 3}, "layer must be a whole number from 0 to 2"),
        ("ganformer", {"edits": {}}, "edits must be a list of at most 13"),
        ("ganformer", {"edits": [SWAP] * 14}, "edits must be a list of at most 13"),
        ("ganformer", {"edits": [7]}, "an edit must be a JSON object"),
        ("ganformer", {"edits": [SWAP | {"kind": "grow"}]}, "kind of an edit must be one of swap"),
        ("ganformer", {"edits": [SWAP | {"component": 3}]}, "from 0 to 2"),
        ("ganformer", {"edits": [SWAP | {"component": -1}]}, "from 0 to 2"),
        ("ganformer", {"edits": [SWAP | {"component": []}]}, "from 0 to 2"),
        ("ganformer", {"edits": [SWAP | {"seed": None}]}, "seed of an edit must be a whole"),
        ("ganformer", {"edits": [SWAP | {"kind": "interpolate"}]}, "t must be a number from 0"),
        (
            "ganformer",
            {"edits": [{"component": "global", "kind": "remove"}]},
            "only components can be removed",
        ),
        (
            "ganformer",
            {"edits": [{"component": k, "kind": "remove"} for k in range(3)]},
            "edits remove all components: leave one",
        ),
        ("ganformer", {"edits": [MOVE]}, "components of this generator have no places to move"),
        ("places", {"edits": [MOVE | {"x": 2.5}]}, "x must be a number from -2 to 2"),
        ("places", {"edits": [MOVE | {"component": "all"}]}, "only components can be moved"),
        (
            "one component",
            {"edits": [{"component": 0, "kind": "remove"}]},
            "edits remove all components: leave one",
        ),
        ("stylegan2", {"edits": [SWAP]}, 'component must be "global" or "all"'),
        ("unattended", {"edits": [SWAP]}, 'component must be "global" or "all"'),
        ("stylegan2", {"layer": 0}, "layer must be left out"),
        ("classes", {"label": 2}, "label must be a whole number from 0 to 1"),
        ("classes", {"label": [1, 0]}, "label must be a whole number from 0 to 1"),
        ("conditions", {"label": 1}, "label must be a list of 2 numbers"),
        ("conditions", {"label": [1, 2, 3]}, "label must be a list of 2 numbers"),
        ("conditions", {"label": [1, float("inf")]}, "a number of label must be a number"),
    ],
)
def test_states_that_are_refused(kind, data, message):
    with pytest.raises(UserError) as error:
        viewed(kind).parse(data)
    assert message in str(error.value) and "\n" not in str(error.value)
    client = Client(make_app(viewed(kind), "x", "t"), "http://localhost")
    answer = client.post("/view", content=json.dumps(data), headers={"X-Token": "t"})
    assert answer.status_code == 400 and message in answer.json()["error"]


@pytest.fixture
def client():
    return Client(make_app(viewed("ganformer"), "a <run>", "secret"), "http://127.0.0.1:8765")


@pytest.mark.parametrize("kind", KINDS)
def test_answers_of_every_kind_of_generator(kind):
    generator = viewed(kind)
    shown = generator.view(generator.start)
    client = Client(make_app(generator, kind, "t"), "http://127.0.0.1", {"X-Token": "t"})
    facts = client.get("/generator").json()
    assert (facts["height"], facts["width"]) == shown.image.shape[:2]
    assert len(facts["palette"]) == facts["components"] == generator.components
    seen = client.post("/view", json={}).json()
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(seen["image"]))))
    np.testing.assert_array_equal(pixels, as_rgb(shown.image[None])[0])
    if shown.segments is None:
        assert seen["segments"] is None and seen["changes"] == []
    else:
        segments = np.frombuffer(base64.b64decode(seen["segments"]), "<u2").reshape(seen["size"])
        np.testing.assert_array_equal(segments, shown.segments)


DATA = [("GET", "/"), ("GET", "/generator")]
DATA += [("POST", path) for path in ("/view", "/image.png", "/latents.npz")]


@pytest.mark.parametrize(("method", "path"), DATA)
def test_data_needs_the_token(client, method, path):
    body = {"content": "{}"} if method == "POST" else {}
    for query, headers in (
        ("", {}),
        ("?token=", {}),
        ("?token=secre", {}),
        ("", {"X-Token": "secret2"}),
        ("", {"X-Token": "\xe9"}),
        ("?token=secret", {"X-Token": "wrong"}),
    ):
        encoded = {name: value.encode("latin-1") for name, value in headers.items()}
        answer = client.request(method, path + query, headers=encoded, **body)
        assert answer.status_code == 403 and "secret" not in answer.text, (query, headers)
    assert client.request(method, path + "?token=secret", **body).status_code == 200
    assert client.request(method, path, headers={"X-Token": "secret"}, **body).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "127.0.0.1:8765"}, 200),
        ({"Host": "LOCALHOST:99"}, 200),
        ({"Host": "[::1]:8765"}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "evil.example:8765"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:8765"}, 403),
        ({"Host": "127.0.0.1:evil"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "localhost:8765", "Origin": "http://localhost:8765"}, 200),
        ({"Host": "localhost:8765", "Origin": "http://localhost:1234"}, 403),
        ({"Host": "localhost:8765", "Origin": "http://evil.example"}, 403),
        ({"Host": "localhost:8765", "Origin": "null"}, 403),
        ({"Host": "localhost:8765", "Origin": "http://["}, 403),
        ({"Host": "localhost:8765", "Origin": "https://localhost:8765"}, 403),
    ],
)
def test_names_of_other_machines_and_other_pages_are_refused(client, headers, status):
    """With the token too, and for the files that need none."""
    for path in ("/generator?token=secret", "/viewer.css"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == status
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_the_page_and_its_files_name_no_other_place(client):
    page = client.get("/?token=secret")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert page.headers["referrer-policy"] == "no-referrer"
    files = sorted(path.name for path in PAGE.iterdir())
    assert files == [
        *("labels.js", "moving.js", "state.js", "viewer.css", "viewer.html", "viewer.js")
    ]
    named = set(re.findall(r'(?:src|href|from) ?=?"(?:\./)?([^"#:]+)"', page.text))
    assert named == {"viewer.css", "viewer.js"}
    for name in set(files) - {"viewer.html"}:
        answer = client.get(f"/{name}")
        kind = "text/css" if name.endswith("css") else "text/javascript"
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)
        assert "//" not in re.sub(r"// .*", "", answer.text.replace("url(data:", ""))
    assert client.get("/app.py?token=secret").status_code == 404


@pytest.mark.parametrize("path", ["/view", "/image.png", "/latents.npz"])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the request is not JSON"),
        (b"{", "the request is not JSON"),
        (b"\xff\xfe{", "the request is not JSON"),
        (b"[" * 100_000, "the request is not JSON"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "the request is not JSON"),
        (b'{"psi": NaN}', "psi must be a number"),
        (b" " * (MAX_BODY + 1), "the request is larger than"),
    ],
)
def test_bodies_that_are_refused(client, path, body, message):
    answer = client.post(path, content=body, headers={"X-Token": "secret"})
    assert answer.status_code == 400 and message in answer.json()["error"]
    assert client.post("/view?token=secret", json={}).status_code == 200  # it still serves


def test_an_error_of_a_library_does_not_end_the_server(client, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        patched.setattr(viewed("ganformer"), "view", lambda state: 1 / 0)
        answer = client.post("/view?token=secret", json={})
    assert answer.status_code == 500
    assert answer.json() == {"error": "ZeroDivisionError: division by zero"}
    assert capsys.readouterr().err == "error: ZeroDivisionError: division by zero\n"
    assert client.post("/view?token=secret", json={}).status_code == 200


def test_what_the_page_knows_of_the_generator_is_computed_once(client, monkeypatch):
    """Not beside an image that is being made: one at a time."""
    monkeypatch.setattr(viewed("ganformer"), "view", lambda state: 1 / 0)
    facts = client.get("/generator?token=secret").json()
    assert facts["name"] == "a <run>" and facts["components"] == 3


def test_saved_files_make_the_image_again(client, tmp_path):
    generator = viewed("ganformer")
    edits = [SWAP, {"component": 2, "kind": "remove"}]
    state = {"seed": 5, "psi": 0.6, "edits": edits}
    image = generator.view(generator.parse(state)).image
    png = client.post("/image.png?token=secret", json=state)
    assert png.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png.content))), image)
    path, said = tmp_path / "latents.npz", []
    path.write_bytes(client.post("/latents.npz?token=secret", json=state).content)
    latents = read_latents(path, generator.config, weights="0123", noise="const", say=said.append)
    assert not said and latents.facts[0]["seed"] == 5 and len(latents.facts[0]["edits"]) == 2
    made = Synthesizer(generator.config, 1)(variables_of(generator.config), latents)
    np.testing.assert_array_equal(made.images[0], image)
