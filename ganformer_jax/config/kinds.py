"""The kinds of training, by their configs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ganformer_jax.config.checks import validate
from ganformer_jax.config.dicts import from_dict
from ganformer_jax.config.gan import Config
from ganformer_jax.config.ganformer2 import GANformer2Config
from ganformer_jax.config.ganformer2_checks import validate_ganformer2
from ganformer_jax.config.prior import PriorConfig
from ganformer_jax.config.prior_checks import validate_prior
from ganformer_jax.config.translation import TranslationConfig
from ganformer_jax.config.translation_checks import validate_translation
from ganformer_jax.errors import UserError, did_you_mean


class Kind(NamedTuple):
    """One kind of training."""

    config: type[Any]
    """Its config: a dataclass whose field `train` is a `TrainConfig`."""
    validate: Callable[[Any], None]
    """Raises `UserError` if an option has to be set differently."""
    hint: str
    """Which command to use instead, for commands that need a GAN."""


KINDS = {
    "gan": Kind(Config, validate, "use `sample`"),
    "translation": Kind(TranslationConfig, validate_translation, "use `sample --images`"),
    "prior": Kind(PriorConfig, validate_prior, "use `sample`"),
    "ganformer2": Kind(GANformer2Config, validate_ganformer2, "use `sample` or `edit`"),
}
"""Kinds by the field `kind` of a config; without the field it is of a GAN."""


def kind_of(config: Any) -> str:
    """Return the kind of a config."""
    return getattr(config, "kind", "gan")


def kind_named(name: Any) -> Kind:
    """Return the kind of this name; raise `UserError` if there is none."""
    if not isinstance(name, str) or name not in KINDS:
        near = did_you_mean(str(name), KINDS)
        raise UserError(f"kind must be one of {', '.join(KINDS)}, not {name!r}{near}")
    return KINDS[name]


def validate_experiment(config: Any) -> None:
    """Check a config of any kind; raise `UserError` if an option has to be set differently."""
    kind_named(kind_of(config)).validate(config)


def experiment_from_dict(values: Mapping[str, Any]) -> Any:
    """Build the config of an experiment of any kind, as `from_dict`."""
    name = values.get("kind", "gan") if isinstance(values, Mapping) else "gan"
    return from_dict(kind_named(name).config, values)


def as_gan(config: Any, source: str) -> Config:
    """Return the config of a GAN; raise `UserError` if it is of another kind.

    Args:
        config: Of any kind.
        source: What it was read from, for the message.
    """
    if not isinstance(config, Config):
        kind = kind_of(config)
        hint = kind_named(kind).hint
        raise UserError(f"{source} is of kind {kind}, but a GAN is needed: {hint}")
    return config
