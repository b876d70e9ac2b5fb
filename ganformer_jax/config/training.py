"""Frozen dataclasses of training: data, losses, optimizers, and what a run does.

`gan.py` gathers them.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from ganformer_jax.config.ranges import Range, at_least

RENDERED = ("scenes", "scenes_hard", "scenes_drawn")
"""Datasets that are rendered on first use."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Training and evaluation data."""

    name: str = "scenes"
    """`scenes`, `scenes_hard` or `scenes_drawn` (built in, rendered on first use), or
    a dataset made by `prepare` or TensorFlow Datasets: its folder, gs:// path or
    name."""
    directory: str = "data"
    """Folder of prepared datasets."""
    train_images: Annotated[int, at_least(1)] = 20_000
    """Training scenes to render; other datasets are used in full."""
    held_out_images: Annotated[int, at_least(1)] = 2_000
    """Held-out scenes to render, for metrics."""
    mirror: bool = False
    """Flip images left to right at random."""
    threads: Annotated[int, at_least(0)] = 2
    """Threads that read and decode images."""
    held_out_pairs: bool = False
    """Leave scenes out of training whose captions have one of four pairs of color and
    shape, such as a red cube."""

    @property
    def rendered(self) -> bool:
        """Whether these are built-in scenes, which the config decides."""
        return self.name in RENDERED


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """How an option changes while a network trains: from its own value to `final`."""

    kind: Literal["constant", "linear", "cosine"] = "constant"
    """Constant, or the shape of the change to `final`."""
    final: Annotated[float | None, at_least(0)] = None
    """Value at `kimg` and after it; needed unless the kind is constant."""
    kimg: Annotated[float | None, Range(0, above=True)] = None
    """Thousands of images at which the value is `final`; needed unless the kind
    is constant."""
    warmup_kimg: Annotated[float, at_least(0)] = 0.0
    """Thousands of images over which the value first rises from 0; the
    change to `final` starts after them."""
    constant_kimg: Annotated[float, at_least(0)] = 0.0
    """Thousands of images, those of the warm-up among them, before the change to
    `final` starts."""


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of all images that the discriminator sees, real and generated."""

    transforms: tuple[
        Literal[
            "bg",
            "bgc",
            "bgcf",
            "bgcfn",
            "bgcfnc",
            "blit",
            "geom",
            "color",
            "filter",
            "noise",
            "cutout",
            "xflip",
            "rotate90",
            "xint",
            "scale",
            "rotate",
            "aniso",
            "xfrac",
            "brightness",
            "contrast",
            "lumaflip",
            "hue",
            "saturation",
            "imgfilter",
        ],
        ...,
    ] = ()
    """Transformations of adaptive discriminator augmentation (arXiv
    2006.06676): sets, of which bgc is usual, and single ones."""
    mode: Literal["adaptive", "fixed"] = "adaptive"
    """Probability of a transformation: adapted to overfitting, or `p`."""
    p: Annotated[float, Range(0, 1)] = 0.0
    """Probability, or the one that an adaptive one starts from."""
    p_schedule: ScheduleConfig = ScheduleConfig()
    """Change of a fixed `p` in training."""
    target: Annotated[float, Range(-1, 1)] = 0.6
    """Value of r_t, the measure of overfitting, that an adaptive p keeps."""
    kimg: Annotated[float, Range(0, above=True)] = 500.0
    """Thousands of images in which an adaptive p can rise from 0 to 1."""
    interval: Annotated[int, at_least(1)] = 4
    """Steps from one change of an adaptive p to the next."""
    diff_augment: tuple[Literal["color", "translation", "cutout"], ...] = ()
    """Policies of DiffAugment (arXiv 2006.10738), applied to every image."""


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Adversarial losses and regularization."""

    generator: Literal[
        "non_saturating", "logistic", "hinge", "wgan", "least_squares", "relativistic"
    ] = "non_saturating"
    """Generator loss: non_saturating, -log sigmoid(D(fake)); logistic, the
    original minimax loss, which saturates; hinge and wgan, -D(fake);
    least_squares, (D(fake) - 1)^2 / 2; relativistic, which compares logits of
    generated and real images in pairs. The last two need the
    discriminator's loss of the same name."""
    discriminator: Literal["logistic", "hinge", "wgan", "least_squares", "relativistic"] = (
        "logistic"
    )
    """Discriminator loss."""
    wgan_epsilon: Annotated[float, at_least(0)] = 0.001
    """Weight of the WGAN loss's penalty on squared real logits."""
    r1_gamma: Annotated[float, at_least(0)] = 10.0
    """Weight of R1: the penalty is gamma / 2 times the squared gradient norm."""
    r1_gamma_schedule: ScheduleConfig = ScheduleConfig()
    """Change of `r1_gamma` in training; `r2_gamma` keeps its ratio to it."""
    r2_gamma: Annotated[float, at_least(0)] = 0.0
    """Weight of R2, the same penalty at generated images; 0 turns it off."""
    gradient_penalty_weight: Annotated[float, at_least(0)] = 0.0
    """Weight of WGAN-GP's penalty on gradient norms other than 1 between real
    and generated images (10 as published); 0 turns it off."""
    r1_interval: Annotated[int, at_least(0)] = 16
    """Steps between updates with the discriminator's penalties (R1, R2, WGAN-GP),
    which are then multiplied by this number (lazy regularization). 1 adds them
    to the loss of every step; 0 turns them off."""
    path_length_weight: Annotated[float, at_least(0)] = 0.0
    """Weight of path length regularization (StyleGAN2 used 2); 0 turns it off."""
    path_length_interval: Annotated[int, at_least(0)] = 4
    """Steps from one path length update to the next; 0 turns it off."""
    path_length_decay: Annotated[float, Range(0, 1)] = 0.01
    """Share of the new value in the running mean of path lengths."""
    path_length_batch_shrink: Annotated[int, at_least(1)] = 2
    """Divisor of the batch size for path length updates."""
    style_mixing: Annotated[float, Range(0, 1)] = 0.9
    """Probability of taking later layers' latents from a second z."""
    component_mixing: Annotated[float, Range(0, 1)] = 0.0
    """Probability of taking later components' latents from a second z."""
    mismatch_weight: Annotated[float, at_least(0)] = 0.0
    """Weight of the discriminator's loss with real images of other labels, those of
    another image of the batch, in place of generated ones (matching-aware,
    arXiv 1605.05396, section 4.2); 0 turns it off."""
    contrastive_weight: Annotated[float, at_least(0)] = 0.0
    """Weight of both networks' contrastive loss between images and labels: the
    discriminator finds the label of a real image among those of the batch, the
    generator makes images whose label it finds (XMC-GAN, arXiv 2101.04702); 0
    turns it off."""
    contrastive_temperature: Annotated[float, Range(0, above=True)] = 0.1
    """What cosines of images and labels are divided by in that loss."""

    @property
    def penalizes_discriminator(self) -> bool:
        """Whether the discriminator has a penalty: R1, R2 or WGAN-GP's."""
        weights = self.r1_gamma, self.r2_gamma, self.gradient_penalty_weight
        return any(weights) and self.r1_interval > 0

    @property
    def lazy_penalty_interval(self) -> int:
        """Steps between updates of their own for these penalties; 0 if they have none."""
        return self.r1_interval if self.penalizes_discriminator and self.r1_interval > 1 else 0


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Adam for both networks, and the moving averages."""

    learning_rate: Annotated[float, at_least(0)] = 0.002
    """Adam's learning rate, before correction for lazy regularization."""
    learning_rate_schedule: ScheduleConfig = ScheduleConfig()
    """Change of the learning rates in training; that of the discriminator
    keeps its ratio to that of the generator."""
    discriminator_learning_rate: Annotated[float | None, at_least(0)] = None
    """Learning rate of the discriminator; by default that of the generator."""
    gradient_clip: Annotated[float | None, Range(0, above=True)] = None
    """Largest norm of one network's gradient in an update; larger gradients
    are scaled down to it. None for no limit."""
    beta1: Annotated[float, Range(0, 1, below=True)] = 0.0
    """Adam's decay of the first moment."""
    beta2: Annotated[float, Range(0, 1, below=True)] = 0.99
    """Adam's decay of the second moment."""
    beta2_schedule: ScheduleConfig = ScheduleConfig()
    """Change of `beta2` in training."""
    epsilon: Annotated[float, at_least(0)] = 1e-8
    """Adam's epsilon."""
    ema_kimg: Annotated[float, at_least(0)] = 10.0
    """Half-life of the averaged generator (EMA), in thousands of images."""
    ema_kimg_schedule: ScheduleConfig = ScheduleConfig()
    """Change of `ema_kimg` in training."""
    ema_rampup: Annotated[float | None, at_least(0)] = 0.05
    """Upper bound of the half-life, as a share of the images seen; None for none."""
    w_average_beta: Annotated[float, Range(0, 1)] = 0.995
    """Decay of the running mean of w, per step."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Length, batch, devices and what training writes."""

    total_kimg: Annotated[float, Range(0, 2_000_000)] = 25_000.0
    """Length of training, in thousands of real images."""
    batch_size: Annotated[int, at_least(1)] = 32
    """Images per step, over all devices."""
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    """Seed of weights, latents and data order."""
    devices: Annotated[int | None, at_least(1)] = None
    """Number of devices; by default all, and on a CPU as many as its cores
    and the batch size allow."""
    platform: Literal["cpu", "gpu", "tpu"] | None = None
    """Required accelerator; by default the one that jax finds."""
    fsdp: Annotated[int, at_least(1)] = 1
    """Devices that share one copy of parameters, averages and optimizer
    states; 1 for a copy on every device."""
    accumulate: Annotated[int, at_least(1)] = 1
    """Parts of a batch that are computed one after the other, to save memory;
    the gradients are those of the full batch."""
    rematerialize: bool = False
    """Compute activations of each block again for the gradients instead of
    keeping them, which saves memory and costs about one more forward pass."""
    freeze_discriminator: Annotated[int, at_least(0)] = 0
    """Blocks of the discriminator, from the image on, that are not trained, with
    their layers that read the image (Freeze-D, for transfer)."""
    matmul_precision: Literal["default", "high", "highest"] = "default"
    """Precision of float32 matrix products and convolutions: default is the
    fastest that the hardware has, such as TF32 on GPUs; highest is float32."""
    recoveries: Annotated[int, at_least(0)] = 3
    """Recoveries from the same checkpoint, each with other random numbers, after
    losses or weights that are not finite; then training stops."""
    log_kimg: Annotated[float, at_least(0)] = 1.0
    """Interval of log lines, in thousands of images; 0 turns them off."""
    image_kimg: Annotated[float, at_least(0)] = 50.0
    """Interval of sample grids and attention maps, in thousands of images; 0
    turns them off."""
    metric_kimg: Annotated[float, at_least(0)] = 50.0
    """Interval of evaluations, in thousands of images; 0 turns them off."""
    checkpoint_kimg: Annotated[float, at_least(0)] = 50.0
    """Interval of checkpoints, in thousands of images; 0 saves the last only."""
    checkpoints_kept: Annotated[int, at_least(0)] = 2
    """Newest checkpoints to keep, besides the best one."""
    metrics: str = "swd"
    """Metrics, named as for `evaluate --metrics`, that compare sets of
    images. The first one decides which checkpoint is best: the one with the
    lowest value."""
    metric_images: Annotated[int, at_least(1)] = 2_000
    """Images to compare, for metrics whose names end in no number."""
    stall_minutes: Annotated[float, at_least(0)] = 60.0
    """Minutes without progress after which several processes end with an error,
    so that they can be started again; 0 for never."""
