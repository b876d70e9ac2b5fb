"""Training continues when its standard output cannot be written."""

import io
import sys

from ganformer_jax.cli.streams import lenient_streams


class Full(io.StringIO):
    """A stream whose disk is full."""

    def write(self, text):
        raise OSError(28, "No space left on device")

    def flush(self):
        raise BrokenPipeError


def test_what_cannot_be_written_is_dropped(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Full())
    with lenient_streams():
        print("lost", flush=True)
        print("warning", file=sys.stderr)
        assert not sys.stdout.isatty() and sys.stdout.writable()
    assert capsys.readouterr().err == "warning\n"
