"""Processes that work together: equal results, shared ends, no hangs."""

import json
import time

import numpy as np
import pytest
from processes import HERE, finish, free_port, start, start_run_py
from training import mean_programs, on_host, train_mean, with_train

from ganformer_jax import hosts
from ganformer_jax.errors import UserError
from ganformer_jax.train.checkpoints.checkpoints import Checkpoints


def job(name, folder, count=2, **options):
    return finish(start(count, str(HERE / "host_jobs.py"), name, str(folder), **options))


def numbers(run):
    """Losses and metrics by step."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    kept = ("loss/generator", "metric/swd")
    return {(line["step"], n): line[n] for line in lines for n in kept if n in line}


def final_state(run):
    with Checkpoints(run, read_only=True) as checkpoints:
        return on_host(checkpoints.restore(mean_programs().abstract_state()))


def test_two_processes_train_what_one_does_and_one_resumes_them(tmp_path):
    (code, out, err), (other_code, other_out, _) = job("train", tmp_path / "two")
    assert (code, other_code) == (0, 0), err
    assert "on 2 cpu devices" in out and "kimg" not in other_out
    assert job("train", tmp_path / "one", count=1)[0][0] == 0
    one, two = numbers(tmp_path / "one"), numbers(tmp_path / "two")
    assert one.keys() == two.keys() and len(one) >= 7
    np.testing.assert_allclose(list(one.values()), list(two.values()), rtol=1e-6)
    np.testing.assert_allclose(
        final_state(tmp_path / "one").mean, final_state(tmp_path / "two").mean, rtol=1e-6
    )
    said = []
    assert train_mean(tmp_path / "two", with_train(total_kimg=0.48), say=said.append)
    assert said[0].startswith("resuming") and int(final_state(tmp_path / "two").step) == 30


@pytest.mark.parametrize(
    "call",
    [
        lambda: hosts.first(int),
        lambda: hosts.all_of(1),
        lambda: hosts.first_arrays(dict, {}),
        lambda: hosts.gather_rows({}, 0),
        lambda: hosts.check_equal({}),
        hosts.stop_agreed,
    ],
)
def test_a_call_that_all_must_make_is_an_error_of_one_alone(call):
    """With one process too: what the first one does by itself, two would wait in for ever."""
    call()
    with hosts.single_process(), pytest.raises(RuntimeError, match="all processes must make"):
        call()
    with pytest.raises(RuntimeError, match="all processes must make"):
        hosts.first(call)
    call()


@pytest.mark.slow
def test_damage_that_one_process_sees_is_agreed_on(tmp_path):
    assert train_mean(tmp_path, with_train(total_kimg=0.16, checkpoint_kimg=0.08))
    expected = "checkpoint 10 in"
    (code, out, err), (other_code, _, _) = job("unreadable", tmp_path)
    assert (code, other_code) == (0, 0), err
    assert expected in out and "DATA_LOSS" in out and "trying an older one" in out
    assert "resuming" in out and (tmp_path / "checkpoints" / "damaged-10").exists()


@pytest.mark.slow
def test_all_processes_name_the_first_layer_that_is_not_finite(tmp_path):
    for code, out, err in job("diagnose", tmp_path):
        assert code == 0, err
        assert out.splitlines()[-2:] == ["nothing: ''", "output of discriminator/convolution"]


def test_an_error_of_one_process_ends_both_with_its_message(tmp_path):
    began = time.monotonic()
    (code, _, err), (other_code, _, other_err) = job("fail", tmp_path)
    assert (code, other_code) == (1, 1)
    assert "error: process 1 of 2: the data of this host is gone" in err
    assert other_err.splitlines()[-1] == "error: the data of this host is gone"
    assert time.monotonic() - began < 110


@pytest.mark.slow
def test_a_killed_process_ends_the_other_and_the_run_resumes(tmp_path):
    began = time.monotonic()
    (code, _, err), (other_code, _, _) = job("die", tmp_path)
    assert (code, other_code) == (75, -9) and "error: " in err
    assert time.monotonic() - began < 110
    assert train_mean(tmp_path)


def test_a_hang_before_the_first_step_ends_both(tmp_path):
    """Of one process, which the other waits for."""
    assert train_mean(tmp_path, with_train(total_kimg=0.16))
    began = time.monotonic()
    for code, _, err in job("hang", tmp_path):
        assert code == 75 and "no progress for 0 minutes" in err
    assert time.monotonic() - began < 110


def test_a_signal_to_one_process_ends_the_measurement_of_both(tmp_path):
    for code, out, err in job("measure", tmp_path):
        assert code == 0 and "stopped" in out, err
    assert int(final_state(tmp_path).step) == 4


@pytest.mark.slow
def test_a_signal_to_one_process_while_all_compile(tmp_path):
    began = time.monotonic()
    for code, out, err in job("compile", tmp_path):
        assert code == 0 and "compiling" in out, err
    assert time.monotonic() - began < 45  # before jax misses a heartbeat


@pytest.mark.slow
def test_a_signal_after_a_recovery(tmp_path):
    """Steps are counted anew then, but not what processes agree on."""
    for code, out, err in job("recovered", tmp_path):
        assert code == 0 and "stopped" in out, err
    events = map(json.loads, (tmp_path / "history.jsonl").read_text().splitlines())
    found = [(event["event"], event["step"]) for event in events]
    assert [name for name, _ in found] == ["started", "recovered", "stopped"]
    assert found[-1][1] < 40


@pytest.mark.slow
def test_a_signal_to_one_process_outside_training_ends_all(tmp_path):
    began = time.monotonic()
    (code, out, err), (other_code, _, _) = job("wait", tmp_path)
    assert (code, other_code) == (0, 0)
    assert err.splitlines()[-1] == "process 1 of 2: stopped" and "error" not in err
    assert time.monotonic() - began < 45  # before jax misses a heartbeat


@pytest.mark.slow
def test_a_signal_in_the_last_steps_does_not_hang(tmp_path):
    """With the variables that SLURM sets, by which jax connects the processes too."""
    for code, out, err in job("last", tmp_path, slurm=True):
        assert code == 0 and out.split()[-1] in ("complete", "stopped"), err
    assert json.loads((tmp_path / "history.jsonl").read_text().splitlines()[0])["processes"] == 2


@pytest.mark.slow
def test_hosts_that_do_not_share_the_folder_are_refused(tmp_path):
    for index, (code, _, err) in enumerate(job("apart", tmp_path)):
        said = f"{tmp_path}/{index} is not the same folder on every host: put it on a shared disk"
        assert code == 1 and said in err


def test_hosts_that_would_train_something_else_are_refused(tmp_path):
    for code, out, err in job("differ", tmp_path):
        assert code == 1 and "kimg" not in out
        assert "train.seed is 0 on process 0 and 1 on process 1: give every host" in err
    assert not (tmp_path / "checkpoints").exists()


def test_a_first_process_that_never_comes_is_one_line(tmp_path):
    address = f"localhost:{free_port()}"
    given = ["--hosts.address", address, "--hosts.processes", "2", "--hosts.index", "1"]
    run = ["train", "--workdir", str(tmp_path), *given, "--hosts.wait", "0.02"]
    ((code, out, err),) = finish(start_run_py(1, *run))
    assert code == 75 and out == f"waiting for the first process at {address}\n"
    assert err.startswith(f"error: no answer at {address} (Connection refused, for 1 s): start")


def test_processes_that_never_come_are_one_line(tmp_path):
    given = ["--hosts.address", f"localhost:{free_port()}", "--hosts.processes", "2"]
    run = ["train", "--workdir", str(tmp_path), *given, "--hosts.index", "0"]
    ((code, _, err),) = finish(start_run_py(1, *run, "--hosts.wait", "0.02"))
    assert code == 75
    assert err == (
        "error: not all of the 2 processes came within 1 s: start the others, or correct "
        "--hosts.processes\n"
    )


@pytest.mark.parametrize(
    ("processes", "index", "message"),
    [
        (2, 5, "--hosts.index is 5; it should be from 0 to 1, below --hosts.processes"),
        (2, -1, "--hosts.index is -1; it should be from 0 to 1"),
        (0, 0, "--hosts.processes is 0; it should be 1 or more"),
    ],
)
def test_numbers_that_no_job_has_are_refused_at_once(processes, index, message):
    with pytest.raises(UserError, match=message):
        hosts.connect("localhost:1", processes, index)


def test_processes_need_all_three_facts(monkeypatch):
    monkeypatch.setenv("JAX_PROCESS_ID", "1")
    with pytest.raises(UserError, match="--hosts.address, --hosts.processes and --hosts.index"):
        hosts.connect()
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    with pytest.raises(UserError, match="JAX_NUM_PROCESSES is two: set it to a number"):
        hosts.connect("localhost:1")
