"""Processes that work together, one a host or several on one.

jax connects them (`jax.distributed`). Here they agree on what only one of them may do or know: the
first one decides for all, an error of one ends all, and all stop at the same step.
"""

from ganformer_jax.hosts.connecting import connect
from ganformer_jax.hosts.ends import (
    COMPILATION,
    end,
    end_all,
    end_if_compiling,
    finish,
    let_cause_end,
)
from ganformer_jax.hosts.sharing import (
    check_equal,
    check_shared,
    first_arrays,
    gather_rows,
    own_rows,
    preemption_noticed,
    stop_agreed,
)
from ganformer_jax.hosts.store import (
    all_of,
    check_together,
    count,
    device_index,
    first,
    index,
    is_first,
    single_process,
)

__all__ = [
    "COMPILATION",
    "all_of",
    "check_equal",
    "check_shared",
    "check_together",
    "connect",
    "count",
    "device_index",
    "end",
    "end_all",
    "end_if_compiling",
    "finish",
    "first",
    "first_arrays",
    "gather_rows",
    "index",
    "is_first",
    "let_cause_end",
    "own_rows",
    "preemption_noticed",
    "single_process",
    "stop_agreed",
]
