"""Checks of compiled programs."""

from collectives import collectives

from ganformer_jax.train.compile import Programs


def assert_no_collectives_in_loops(programs: Programs) -> None:
    """Devices should not communicate in each iteration of a loop.

    It is slow. And where CPUs are several processes, two loops that do not depend on each other run
    at the same time, and processes confuse what one loop sends with what the other does.
    """
    state, batch = programs.abstract_state(), programs.abstract_batch()
    for update in programs.trainable.updates:
        text = programs.lower(update.function, state, batch).compile().as_text()
        inside = [sent for sent in collectives(text) if "/while/" in sent.name]
        assert not inside, (update.name, inside)
