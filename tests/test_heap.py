"""The heap's settings, in a process of its own: they hold for a whole process."""

import pathlib
import subprocess
import sys

import pytest

TRIAL = """
import ctypes
from ganformer_jax.cli import heap

if not heap.keep_freed_memory():
    raise SystemExit("no glibc")
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
blocks = [libc.malloc(3000) for _ in range(40_000)]
for block in blocks[::2]:
    libc.free(block)
if "leave" in __import__("sys").argv:
    assert heap.leave_fragments() >= 20_000
print(sum(libc.malloc(2500) < max(blocks) for _ in range(1000)))
"""


def reused(*words):
    """How many of 1,000 requests were served from fragments."""
    result = subprocess.run(
        [sys.executable, "-c", TRIAL, *words], capture_output=True, text=True, check=False
    )
    if "no glibc" in result.stderr:
        pytest.skip("the C library is not glibc")
    assert result.returncode == 0, result.stderr
    return int(result.stdout)


def test_fragments_are_used_until_they_are_left():
    assert reused() == 1000
    assert reused("leave") == 0


LISTENS = """
import jax
from training import mean_programs
from ganformer_jax.cli import heap
from ganformer_jax.train.compile import PAUSE_EVENT

heap.LONG, taken = 0.0, []
heap.leave_fragments = lambda: taken.append(1)
heap.tune_heap()
programs = mean_programs()
programs.compile_in_background()
programs.wait()
print(len(taken))
jax.monitoring.record_event(PAUSE_EVENT)
print(len(taken))
"""


def test_fragments_are_left_in_the_first_pause_after_a_compilation():
    """By an event of jax, whose name could change, and one of ours."""
    result = subprocess.run(
        [sys.executable, "-c", LISTENS],
        capture_output=True,
        text=True,
        check=True,
        cwd=pathlib.Path(__file__).parent,
    )
    assert result.stdout.split() == ["1", "1"]
