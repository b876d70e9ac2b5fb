"""What the processes of tests of several hosts run: `python host_jobs.py JOB FOLDER`."""

import dataclasses
import os
import pathlib
import signal
import sys
import threading
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
from tiny import BATCH, random_batch, tiny_config
from training import EXPERIMENT, failing_mean, gan_programs, mean_trainable, with_train

from ganformer_jax import hosts
from ganformer_jax.cli import main
from ganformer_jax.errors import UserError
from ganformer_jax.signals import Stopped
from ganformer_jax.train import stalls
from ganformer_jax.train.checkpoints.checkpoints import Checkpoints
from ganformer_jax.train.devices import place_on
from ganformer_jax.train.loop import train
from ganformer_jax.train.observing import Observer
from ganformer_jax.train.prefetch import place_batch


def batches_until(event=None, step=0):
    """This process's share of the batches; `event` happens before a step."""

    def batches(images_seen):
        share = BATCH // hosts.count()
        rows = slice(hosts.index() * share, (hosts.index() + 1) * share)
        for number in range(images_seen // BATCH, 10**9):
            if step in (number, None) and event is not None:
                event()
            yield {"images": random_batch(number)["images"][rows]}

    return batches


def measure(now):
    now.check()
    return {"metric/swd": float(np.mean(now.sample([0, 1])))}


def train_mean(folder, event=None, step=0, config=EXPERIMENT, observe=measure, trainable=None):
    hosts.connect(preemption=True)
    placement = place_on(jax.devices())
    observers = [Observer(0.064, observe)]
    done = train(
        trainable or mean_trainable(),
        placement,
        config,
        folder,
        batches_until(event, step),
        observers,
    )
    print("complete" if done else "stopped")
    if not done:
        raise Stopped(agreed=True)


def differ(folder):
    hosts.connect(preemption=True)
    train_mean(folder, config=with_train(seed=hosts.index()))


def on_last(event):
    return lambda: event() if hosts.index() > 0 else None


def fail():
    raise UserError("the data of this host is gone")


def end_myself(number):
    return lambda: os.kill(os.getpid(), number)


def slow(now):
    """A measurement that takes long and asks now and then whether to go on."""
    if now.step == 0:
        return {}
    if hosts.index() == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(600):
        now.check()
        time.sleep(0.05)
    raise AssertionError("nobody heard the signal")


def stop_after_recovery(folder):
    """Numbers are not finite at step 10; after the return, a signal at step 13."""
    hosts.connect(preemption=True)  # before jax makes a key
    config = with_train(total_kimg=1e6, checkpoint_kimg=0.064, log_kimg=0.016)
    trainable = failing_mean(9, only_key=jax.random.key(config.train.seed))
    event = on_last(end_myself(signal.SIGTERM))
    train_mean(folder, event, 13, config, trainable=trainable)


def resume_from_what_one_cannot_read(folder):
    """The last process fails to read the arrays of the newest checkpoint."""
    restore_all = ocp.StandardCheckpointHandler.restore

    def restore(self, directory, *arguments, **options):
        if hosts.index() > 0 and directory.parent.name == "10":
            raise ValueError("DATA_LOSS: a shard that only this host reads")
        return restore_all(self, directory, *arguments, **options)

    ocp.StandardCheckpointHandler.restore = restore
    train_mean(folder)


def hang_before_the_first_step(folder):
    """The storage of the last process does not answer when it reads the checkpoint."""
    stalls.POLL = 0.2
    if int(os.environ["JAX_PROCESS_ID"]):
        Checkpoints.restore = lambda *arguments: time.sleep(600)
    train_mean(folder, config=with_train(stall_minutes=0.05))


def wait_for_the_last(folder):
    """A signal to the last process outside training, which the others wait for."""
    hosts.connect()
    if hosts.index() > 0:
        end_myself(signal.SIGTERM)()
    hosts.all_of(True)


def stop_while_compiling(folder):
    """A signal to the last process while the updates compile, for longer than anyone waits."""
    compile_now = jax.stages.Lowered.compile

    def compile_slowly(self, *arguments, **options):
        if threading.current_thread() is not threading.main_thread():
            print("compiling", flush=True)
            if hosts.index() > 0:
                end_myself(signal.SIGTERM)()
            time.sleep(600)
        return compile_now(self, *arguments, **options)

    jax.stages.Lowered.compile = compile_slowly
    train_mean(folder)


def diagnose(folder):
    """Look for what is not finite in a GAN that processes divide, in parts, first in vain."""
    hosts.connect()
    config = tiny_config(components=0)
    train = dataclasses.replace(config.train, accumulate=2)
    config = dataclasses.replace(config, train=train)
    programs = gan_programs(config, jax.devices(), fsdp=2, sharded_size=64)
    share = next(batches_until()(0))
    batch = place_batch(share, programs.trainable.batch, programs.placement.batch)
    state = programs.init(jax.random.key(0))
    print(f"nothing: {programs.trainable.diagnose(state, batch)!r}")
    first = jax.jit(lambda layer: jax.tree.map(lambda leaf: 0 * leaf + 3e38, layer))(
        state.discriminator["convolution"]
    )
    state = state.replace(discriminator=state.discriminator | {"convolution": first})
    print(programs.trainable.diagnose(state, batch))


def paced(folder):
    """A run that says what it does, and takes long enough to be killed while it does it."""
    from faults import CONFIG

    def observe(now):
        print("phase measuring", flush=True)
        time.sleep(0.02)
        print("phase training", flush=True)
        return {"metric/swd": float(np.mean(now.sample([0, 1])))}

    def say_step():
        time.sleep(0.01)
        print("phase training", flush=True)

    save = Checkpoints.save

    def slow_save(self, *arguments):
        print("phase saving", flush=True)
        save(self, *arguments)

    Checkpoints.save = slow_save
    train_mean(folder, say_step, None, CONFIG, observe)


JOBS = {
    "hang": hang_before_the_first_step,
    "paced": paced,
    "apart": lambda folder: train_mean(folder / os.environ["JAX_PROCESS_ID"]),
    "train": train_mean,
    "differ": differ,
    "fail": lambda folder: train_mean(folder, on_last(fail), 7),
    "die": lambda folder: train_mean(folder, on_last(end_myself(signal.SIGKILL)), 7),
    "stop": lambda folder: train_mean(
        folder, on_last(end_myself(signal.SIGTERM)), 7, with_train(total_kimg=1e6)
    ),
    "diagnose": diagnose,
    "compile": stop_while_compiling,
    "recovered": stop_after_recovery,
    "unreadable": resume_from_what_one_cannot_read,
    "wait": wait_for_the_last,
    "last": lambda folder: train_mean(folder, on_last(end_myself(signal.SIGTERM)), 19),
    "measure": lambda folder: train_mean(folder, observe=slow),
}

if __name__ == "__main__":
    name, folder = sys.argv[1:]
    import ganformer_jax.cli as cli

    # The command line's handling of errors and signals, around a model that compiles in no time.
    cli._run = lambda arguments: JOBS[name](pathlib.Path(folder))
    main([])
