"""Running the command line inside a test."""

import pytest

from ganformer_jax.cli import main


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run a command; return its exit code, output and errors."""
    code = 0
    try:
        main(arguments)
    except SystemExit as exit:
        code = int(exit.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 1) -> str:
    """Run a command that must fail, and return the one line that it prints."""
    found, out, err = call(capsys, *arguments)
    assert found == code, (found, out, err)
    assert err.startswith("error: ") and err.count("\n") == 1, err
    assert "Traceback" not in err + out
    return err
