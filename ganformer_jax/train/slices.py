"""TPU slices that need not be there: XLA's compiler for TPUs comes with libtpu and runs without."""

from __future__ import annotations

import importlib.util
import os
import re
from typing import Any

import jax

from ganformer_jax.errors import UserError, one_line

# libtpu asks no metadata server, does not warn of what that would say, and loads in more than one
# process.
_WITHOUT_A_TPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def describe_slice(name: str) -> list[Any]:
    """Return the devices of a TPU slice, to compile for; nothing can run on them.

    jax runs on the CPU in this process, unless it has looked for devices before.

    Args:
        name: Kind and shape, such as v5e:2x4, or v5e:16x16 for 256 chips.

    Raises:
        UserError: If libtpu is missing, or does not know the slice.
    """
    if not re.fullmatch(r"[\w ]+:[1-9]\d*(x[1-9]\d*)*", name):  # libtpu ends the process for some
        raise UserError(f"no slice {name}: give its kind and shape, such as v5e:2x4")
    if importlib.util.find_spec("libtpu") is None:
        raise UserError('no libtpu, which compiles for TPUs: pip install "ganformer-jax[tpu]"')
    for variable, value in _WITHOUT_A_TPU.items():
        os.environ.setdefault(variable, value)
    jax.config.update("jax_platforms", "cpu")
    from jax.experimental import topologies

    try:
        return list(topologies.get_topology_desc(name, platform="tpu").devices)
    except Exception as error:  # jax raises several kinds
        raise UserError(f"no slice {name}, such as v5e:2x4 ({one_line(error)})") from error
