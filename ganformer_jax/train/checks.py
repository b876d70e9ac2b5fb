"""What a batch must divide by, said before anything is compiled."""

from __future__ import annotations

from ganformer_jax.config import Config
from ganformer_jax.errors import UserError


def check_batch(config: Config, devices: int) -> None:
    """Refuse a batch that devices, path lengths or minibatch-stddev groups do not divide.

    Raises:
        UserError: Which names the option.
    """
    batch, loss = config.train.batch_size, config.loss
    if batch < 1 or batch % devices:
        raise UserError(f"train.batch_size {batch} does not divide over {devices} devices")
    if loss.path_length_weight and loss.path_length_interval:
        shrink = loss.path_length_batch_shrink
        if batch % (devices * shrink):
            raise UserError(
                f"train.batch_size {batch} does not divide by loss.path_length_batch_shrink "
                f"{shrink} times {devices} devices"
            )
    group = min(config.discriminator.minibatch_stddev_group, batch)
    if config.discriminator.minibatch_stddev_channels and batch % group:
        raise UserError(
            f"train.batch_size {batch} is not a multiple of "
            f"discriminator.minibatch_stddev_group {group}"
        )
