"""Running the command line inside a test."""

import json

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


def assert_evaluated_as_logged(capsys, run, kind):
    """`evaluate` of a run of 4 steps that is not of a GAN gives the last distance of its log."""
    command = ["evaluate", "--workdir", str(run), "--split", "test", "--metrics"]
    measured = json.loads(call(capsys, *command, "swd8")[1].splitlines()[-1])
    assert (run / "evaluations.jsonl").exists() and measured["step"] == 4
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    logged = [record["metric/swd"] for record in records if "metric/swd" in record]
    assert measured["swd8"] == pytest.approx(logged[-1], rel=1e-3)
    said = complaint(capsys, *command, "seg8")
    assert f"seg8 is for GANs, but {run} is of kind {kind}: leave it out" in said
    said = complaint(capsys, *command, "swd8", "--truncation-psi", "0.5")
    assert "--truncation-psi is for GANs" in said
