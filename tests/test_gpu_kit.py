"""What the GPU kit makes of a profile, and its report; the kit itself is run by hand."""

import math

import gpu
import gpu_checks
import gpu_profile
import numpy as np

LABELS = [
    {"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "/device:GPU:0"}},
    {"ph": "M", "name": "thread_name", "pid": 1, "tid": 1, "args": {"name": "Stream #16(Compute)"}},
    {"ph": "M", "name": "thread_name", "pid": 1, "tid": 2, "args": {"name": "XLA Modules"}},
    {"ph": "M", "name": "process_name", "pid": 2, "args": {"name": "/host:CPU"}},
    {"ph": "M", "name": "thread_name", "pid": 2, "tid": 1, "args": {"name": "tf_XLAEigen/1"}},
]


def spans(pid, tid, *rows):
    return [{"ph": "X", "pid": pid, "tid": tid, "name": n, "dur": d} for n, d in rows]


def test_kernels_are_those_of_the_streams_of_a_gpu():
    """What stands on other lines of the device, and on the host, is the same time once more."""
    kernels = spans(1, 1, ("gemm", 5.0), ("loop_fusion", 2.0), ("gemm", 4.0))
    others = spans(1, 2, ("jit_adversarial_update", 11.0)) + spans(2, 1, ("dot", 7.0))
    assert gpu_profile.durations(LABELS + kernels + others) == {"gemm": 9.0, "loop_fusion": 2.0}


def test_without_a_gpu_kernels_are_those_of_the_threads_of_xla():
    rows = spans(2, 1, ("dot", 7.0), ("ThunkExecutor::Execute (wait for completion)", 9.0))
    assert gpu_profile.durations(LABELS[3:] + rows + spans(2, 9, ("python", 3.0))) == {"dot": 7.0}


def test_every_size_kind_and_precision_is_timed_before_larger_batches():
    made = gpu.plans(small=False)
    assert len(set(made)) == len(made) == 3 * 2 * 3 * 3
    first = {(p.case.resolution, p.case.kind, p.precision) for p in made[:18]}
    assert len(first) == 18
    assert made[0].case.resolution == 256 and made[0].precision == "bfloat16"


def test_a_number_that_is_not_finite_is_an_error_wherever_it_is():
    exact, right, wrong = np.ones(3), np.full(3, 1.01), np.array([1.0, np.nan, 1.0])
    for found in ([right, wrong], [wrong, right]):
        assert math.isnan(gpu_checks.relative_error(found, [exact, exact]))
    assert abs(gpu_checks.relative_error([exact, right], [exact, exact]) - 0.01) < 1e-9


def test_the_report_is_written_after_each_result(tmp_path):
    report = gpu.Report(tmp_path)
    report.add("timed", {"case": "64x64", "train_images_per_second": 12.5})
    report.add("left_out", "256x256: no time left")
    words = (tmp_path / "gpu.md").read_text()
    assert "| 64x64 | 12.5 |" in words and "- 256x256: no time left" in words
    assert (tmp_path / "gpu.json").exists()
