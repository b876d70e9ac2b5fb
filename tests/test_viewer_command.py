"""The command `view`: its options, what it prints, and its end."""

import pathlib
import re
import signal
import socket
import stat
import time
import urllib.parse
import webbrowser

import processes
import pytest
from asgi_client import Client
from command_line import call, complaint
from processes import finish, start_run_py
from viewed import export

from ganformer_jax.classes import save_class_names
from ganformer_jax.cli import view


@pytest.fixture
def served(monkeypatch):
    """Applications that the command would serve."""
    apps = []
    monkeypatch.setattr("ganformer_jax.viewer.serve.serve", lambda app, listener: apps.append(app))
    return apps


@pytest.mark.parametrize(
    ("kind", "options", "labels"),
    [
        ("ganformer", (), {"kind": "none", "names": []}),
        ("classes", (), {"kind": "classes", "names": ["0", "1"]}),
        ("classes", ("--condition", "2,3"), {"kind": "conditions", "names": ["0", "1"]}),
    ],
)
def test_the_command_serves_a_generator(tmp_path, capsys, served, kind, options, labels):
    code, out, err = call(
        capsys, "view", "--workdir", export(tmp_path, kind), "--no-open", *options
    )
    assert code == 0, err
    (token,) = re.findall(r"^viewer: http://127\.0\.0\.1:\d+/\?token=([\w-]{32,})$", out, re.M)
    client = Client(served[0], "http://localhost")
    facts = client.get(f"/generator?token={token}").json()
    assert facts["name"] == "generator" and facts["labels"] == labels
    if options:
        assert facts["start"]["label"] == [2.0, 3.0]
    assert client.post(f"/view?token={token}", json={}).status_code == 200


def test_names_of_classes_and_conditions_of_a_run(tmp_path, capsys):
    (tmp_path / "classes").mkdir()
    save_class_names(["cat", "dog"], tmp_path / "classes")
    labels = view._labels(view.Options(workdir=tmp_path / "classes"), 2)
    assert (labels.kind, labels.names, labels.start) == ("classes", ("cat", "dog"), 0)
    (tmp_path / "conditions.json").write_text('["width", "height"]')
    labels = view._labels(view.Options(workdir=tmp_path), 2)
    assert (labels.kind, labels.names, labels.start) == (
        *("conditions", ("width", "height")),
        (0.0, 0.0),
    )
    assert "starting with a condition of zeros: " in capsys.readouterr().out
    options = view.Options(workdir=tmp_path, condition="height=2")
    assert view._labels(options, 2).start == (0.0, 2.0)


@pytest.mark.parametrize(
    ("display", "flag", "opened"),
    [(":0", "--open", 1), (":0", "--no-open", 0), ("", "--open", 0)],
)
def test_a_browser_is_opened_on_a_display_without_the_token(
    tmp_path, capsys, served, monkeypatch, display, flag, opened
):
    """On its command line, which other users see."""
    opened_files = []

    def open_file(url):
        path = pathlib.Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path))
        modes = [stat.S_IMODE(place.stat().st_mode) for place in (path, path.parent)]
        opened_files.append((url, path, path.read_text(), modes))

    monkeypatch.setattr(webbrowser, "open", open_file)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    code, out, err = call(capsys, "view", "--workdir", export(tmp_path, "stylegan2"), flag)
    assert code == 0, err
    assert len(opened_files) == opened
    address = re.findall(r"^viewer: (.*)$", out, re.M)[0]
    for url, path, text, modes in opened_files:
        assert "token" not in url and address.split("token=")[1] not in url
        assert f'content="0; url={address}"' in text
        assert modes == [0o600, 0o700]
        assert not path.parent.exists()  # the command has ended


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--port", "70000"), "--port must be from 0 to 65535"),
        (("--step", "3"), "has no checkpoints: leave out --step and --best"),
        (("--condition", "1,2"), "the generator was trained without conditions"),
    ],
)
def test_what_cannot_be_viewed(tmp_path, capsys, served, options, message):
    path = export(tmp_path, "stylegan2")
    assert message in complaint(capsys, "view", "--workdir", path, "--no-open", *options)
    assert not served


def test_a_missing_run_and_a_taken_port(tmp_path, capsys):
    missing = str(tmp_path / "nothing")
    assert f"no run in {missing}" in complaint(capsys, "view", "--workdir", missing)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = complaint(capsys, "view", "--workdir", export(tmp_path, "stylegan2"), "--port", port)
    assert f"--port {port}: Address already in use; choose another, or 0" in said


def test_missing_packages_are_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(view, "PACKAGES", ("starlette", "not_installed_here"))
    said = complaint(capsys, "view", "--workdir", export(tmp_path, "stylegan2"))
    assert 'view needs not_installed_here: pip install "ganformer-jax[view]"' in said


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_command_and_remove_its_file(tmp_path, monkeypatch, number):
    (tmp_path / "tmp").mkdir()
    environment = {"DISPLAY": ":0", "BROWSER": "true", "TMPDIR": str(tmp_path / "tmp")}
    monkeypatch.setattr(processes, "ENVIRONMENT", processes.ENVIRONMENT | environment)
    process = start_run_py(1, "view", "--workdir", export(tmp_path))[0]
    out = process.stdout
    assert out is not None
    lines = [out.readline()]
    while not lines[-1].startswith("Ctrl-C") and process.poll() is None:
        lines.append(out.readline())
    files = tmp_path / "tmp"
    until = time.monotonic() + 60
    while not list(files.glob("ganformer-view-*/open.html")) and time.monotonic() < until:
        time.sleep(0.05)
    assert len(list(files.glob("ganformer-view-*/open.html"))) == 1
    process.send_signal(number)
    ((code, rest, err),) = finish([process], timeout=120)
    assert code == 0 and not err, (lines, rest, err)
    assert rest.startswith("stopped")
    assert not list(files.glob("ganformer-view-*"))
