"""Signals are heard wherever they arrive."""

import gc
import os
import signal
import sys
import threading
import time
import weakref

import pytest

from ganformer_jax.signals import Stopped, at_end, clean_up, stop_on_signals
from ganformer_jax.train.stopping import Stop


def stop_in_a_callback_of_the_collector():
    """Send SIGTERM where Python ignores exceptions."""
    sent = []

    def callback(phase, info):
        if not sent:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)  # the handler runs here

    gc.callbacks.append(callback)
    try:
        gc.collect()
        assert sent
        time.sleep(60)
    finally:
        gc.callbacks.remove(callback)


class Ending:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)


def stop_in_a_finalizer():
    Ending()
    time.sleep(60)


def stop_in_a_callback_of_a_weak_reference():
    def callback(reference):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)

    thing = threading.Event()
    reference = weakref.ref(thing, callback)
    del thing
    assert reference() is None
    time.sleep(60)


PLACES = [
    stop_in_a_callback_of_the_collector,
    stop_in_a_finalizer,
    stop_in_a_callback_of_a_weak_reference,
]


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("training", [False, True])
def test_a_signal_where_exceptions_are_ignored(where, training):
    said, began = [], time.monotonic()
    with stop_on_signals(), pytest.raises(Stopped):
        if training:
            with Stop(said.append) as stop, stop.interruptible():
                where()
        else:
            where()
    assert time.monotonic() - began < 30
    assert said == (["SIGTERM: stopping"] if training else [])


def test_other_errors_in_finalizers_are_reported_as_ever(monkeypatch):
    seen = []
    monkeypatch.setattr("sys.unraisablehook", seen.append)

    class Failing:
        def __del__(self):
            raise ValueError("in a finalizer")

    with stop_on_signals():
        Failing()
    assert [str(each.exc_value) for each in seen] == ["in a finalizer"]
    assert sys.unraisablehook == seen.append


def test_cleanups_run_once_at_the_end_or_before_it():
    ran = []
    with at_end(lambda: ran.append("a")):
        assert not ran
    clean_up()
    assert ran == ["a"]
    with at_end(lambda: ran.append("b")), at_end(lambda: ran.append("c")):
        clean_up()  # a signal ends the process while another thread is here
        assert ran == ["a", "c", "b"]
    assert ran == ["a", "c", "b"]
