"""Storage and terminals that fail for a while, or for good."""

import contextlib
import errno
import io
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys

import aiohttp
import gcsfs.retry
import pytest
import requests

from ganformer_jax import cli, hosts, locks, storage
from ganformer_jax.data.find import Records
from ganformer_jax.errors import TemporaryError, UserError
from ganformer_jax.files import allow_open_files
from ganformer_jax.locks import exclusive_lock
from ganformer_jax.signals import Stopped, end_signals, stop_on_signals

ROOT = pathlib.Path(__file__).resolve().parents[1]


def caused_by(error):
    try:
        raise UserError("cannot read") from error
    except UserError as raised:
        return raised


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OSError(errno.EIO, ""), True),
        (OSError(errno.ESTALE, ""), True),
        (OSError(errno.ENOENT, "no such file: UNAVAILABLE"), False),
        (OSError(errno.ENOSPC, ""), False),
        (RuntimeError("open() failed: Stale file handle"), True),
        (ValueError("UNAVAILABLE: retry later"), True),
        (ValueError("DATA_LOSS: checksum"), False),
        (caused_by(OSError(errno.ETIMEDOUT, "")), True),
        (caused_by(OSError(errno.EACCES, "")), False),
        (UserError("no image"), False),
        (TimeoutError("ChainedFuture completed 2/6 futures but timed out"), True),
        (caused_by(TimeoutError("timed out")), True),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), True),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), False),
        (gcsfs.retry.HttpError({"code": 503, "message": "an internal error"}), True),
        (gcsfs.retry.HttpError({"code": 403, "message": "forbidden"}), False),
        (requests.ConnectionError("refused"), True),
        (requests.ReadTimeout("no answer"), True),
        (requests.TooManyRedirects("30 of them"), False),
        (aiohttp.ServerDisconnectedError(), True),
    ],
)
def test_transient_errors(error, passes):
    assert storage.is_transient(error) == passes


class Stored:
    """Records whose disk fails for the first reads."""

    def __init__(self, failures, message):
        self.failures, self.message, self.reads = failures, message, 0

    def __getitem__(self, index):
        self.reads += 1
        if self.reads <= self.failures:
            raise RuntimeError(self.message)
        return b"record"


def test_a_record_is_read_again_while_the_disk_does_not_answer(monkeypatch, capsys):
    slept = []
    monkeypatch.setattr(storage.time, "sleep", slept.append)
    stored = Stored(2, "UNKNOWN: read() failed: Input/output error")
    assert Records(stored, "pets (train)")[0] == b"record" and slept == [1, 2]
    warning, _ = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: cannot read pets (train) (RuntimeError: UNKNOWN")
    assert warning.endswith("; trying again in 1 s")
    stored = Stored(100, "UNKNOWN: read() failed: Input/output error")
    with pytest.raises(UserError, match="cannot be read now, try again once the disk answers"):
        Records(stored, "pets (train)")[0]
    assert stored.reads == len(storage.delays) + 1 and sum(slept[2:]) == 120


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Invalid checksum", "pets cannot be read, copy or prepare it again: RuntimeError: Inv"),
        (
            "open() failed: Too many open files",
            "pets has more shards than this shell can open: raise",
        ),
    ],
)
def test_other_errors_of_records_are_said_at_once(message, said):
    stored = Stored(1, message)
    with pytest.raises(UserError, match="^pets") as caught:
        Records(stored, "pets")[0]
    assert str(caught.value).startswith(said) and stored.reads == 1


def test_the_limit_of_open_files_is_raised():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
        allow_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (limits[1], limits[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


LOCK_OLD = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""
LOCK_FILE = LOCK_OLD.replace("os.O_RDONLY", "os.O_RDWR | os.O_CREAT")


@pytest.mark.parametrize(("code", "name"), [(LOCK_OLD, "."), (LOCK_FILE, ".lock")])
def test_a_lock_of_this_or_an_earlier_version_is_respected(tmp_path, code, name):
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / name)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None and other.stdout.readline() == "locked\n"
    with pytest.raises(UserError, match="another process is training in"):
        with exclusive_lock(tmp_path, "training in", pytest.fail):
            pass
    other.communicate()
    with exclusive_lock(tmp_path, "training in", pytest.fail):
        pass


def test_the_lock_of_another_host_is_waited_for(tmp_path, monkeypatch):
    """Whose disk may keep it for a while after that host is gone."""
    monkeypatch.setattr(locks, "patience", 0.2)
    monkeypatch.setattr(locks, "_POLL", 0.01)
    said = []
    with exclusive_lock(tmp_path, "training in", pytest.fail), contextlib.ExitStack() as stack:
        written = (tmp_path / ".lock").read_text()
        assert written.split()[:2] == [socket.gethostname(), str(os.getpid())]
        with pytest.raises(
            UserError, match=rf"another process is training in .* \({os.getpid()} on .*it ends$"
        ):
            stack.enter_context(exclusive_lock(tmp_path, "training in", pytest.fail))
        for holder in ("elsewhere 7", f"{socket.gethostname()} 7 another-start-of-it"):
            (tmp_path / ".lock").write_text(f"{holder}\n")
            host = holder.split()[0]
            with pytest.raises(TemporaryError, match=rf"\(7 on {host}\).*or delete .* is gone"):
                stack.enter_context(exclusive_lock(tmp_path, "training in", said.append))
    assert len(said) == 2 and all(line.endswith("waiting for up to 0 s") for line in said)
    (tmp_path / ".lock").write_text("elsewhere 7\n")
    with exclusive_lock(tmp_path, "training in", pytest.fail):
        pass


def test_a_lost_terminal_stops_a_command_unless_nohup_ignores_it():
    usual = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup may have started the tests
    try:
        with stop_on_signals():
            with pytest.raises(Stopped, match="SIGHUP"):
                os.kill(os.getpid(), signal.SIGHUP)
                signal.pause()
            os.kill(os.getpid(), signal.SIGHUP)  # sent again, by the shell
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with stop_on_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.SIGHUP not in end_signals()
    finally:
        signal.signal(signal.SIGHUP, usual)


@pytest.mark.parametrize(
    "where",
    [
        "ganformer_jax.experiment.run.train_experiment",
        "ganformer_jax.cli.options.HostOptions.connect",
        "ganformer_jax.cli.train.defaults",
    ],
)
def test_a_stop_has_the_exit_code_that_was_asked_for(tmp_path, monkeypatch, capsys, where):
    def stop(*arguments, **options):
        raise Stopped("SIGTERM")

    def end(code):
        raise SystemExit(code)

    monkeypatch.setattr(where, stop)
    monkeypatch.setattr(hosts, "end", end)
    command = ["train", "--workdir", str(tmp_path), "--stop-code", "75"]
    with pytest.raises(SystemExit) as caught:
        cli.main(command)
    assert caught.value.code == 75 and "to resume: " in capsys.readouterr().out


@pytest.mark.parametrize("code", ["256", "-1", "1", "2"])
def test_codes_that_mean_something_else_are_refused(tmp_path, capsys, code):
    with pytest.raises(SystemExit):
        cli.main(["train", "--workdir", str(tmp_path / "run"), "--stop-code", code])
    said = f"error: --stop-code {code}: give 0, or a code from 3 to 125\n"
    assert capsys.readouterr().err == said and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "error, code",
    [
        (OSError(errno.EIO, "Input/output error"), 75),
        (OSError(errno.EPIPE, "Broken pipe"), 75),
        (OSError(errno.ENOSPC, "No space left on device"), 1),
        (UserError("no answer at host:1 (Connection refused, for 300 s)"), 75),
        (UserError("there is no such option"), 1),
        (RuntimeError("UNAVAILABLE: the accelerator's runtime does not answer"), 75),
    ],
)
def test_what_may_be_gone_at_the_next_attempt_has_an_exit_code_of_its_own(
    tmp_path, monkeypatch, capsys, error, code
):
    def train(*arguments, **options):
        raise error

    monkeypatch.setattr("ganformer_jax.experiment.run.train_experiment", train)
    monkeypatch.setattr("ganformer_jax.cli.output_is_gone", lambda: False)
    with pytest.raises(SystemExit) as caught:
        cli.main(["train", "--workdir", str(tmp_path)])
    assert caught.value.code == code and "error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "Gloo all-reduce failed: pair.cc:547] Connection closed by peer [10.0.0.2]:12441",
        "Gloo all-reduce failed: pair.cc:538] Read error: Connection reset by peer",
        "NCCL operation async_err failed: remote process exited or there was a network error",
    ],
)
def test_another_process_that_was_killed_is_a_temporary_failure(words):
    assert storage.exit_code(RuntimeError(f"INTERNAL: {words}")) == 75


def test_nobody_may_read_on():
    """As with `| head`; it is not an error, and not one of storage."""
    command = [sys.executable, "run.py", "train", "--dry-run"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert process.stdout and process.stderr
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0 and not said


def test_lines_reach_a_log_file_at_once(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", stream)
    cli.main(["train", "--dry-run"])
    assert stream.line_buffering
