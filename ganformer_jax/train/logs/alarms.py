"""Alarms in words, from the averages of a report: few, each said once until it clears.

They only look at what is logged, so they cost nothing and change nothing.
"""

from __future__ import annotations

import collections
import dataclasses
import statistics
from collections.abc import Iterator, Mapping

# What raises an alarm, and why there.
R_T = 0.8
"""Share of real images called real, less the share called generated. 0.6 is what Karras et al.
(2020, arXiv 2006.06676, section 3.1) steer to, and 1 means that training images are memorized."""
LOGITS_APART = 20.0
"""Distance of the mean real and generated logit. At 10 and -10 the logistic loss of D has gradients
below 1e-4 of their largest, so D hardly changes, and the gradients that G receives are unstable
(Arjovsky and Bottou 2017, arXiv 1701.04862, theorems 2.4 and 2.6)."""
DIVERSITY = 0.1
"""Variance of generated images over a batch relative to that of real ones. One image for all
latents gives 0, and M unlike images give about 1 - 1 / M, so this is a collapse to almost one."""
LASTING_KIMG = 20.0
"""Thousand images that any of these must last: more than the start of training takes, when D wins
easily."""
NORM_RATIO = 100.0
"""Gradient norm relative to the median of the last reports. Adam's steps do not grow with it, but
it stays far below 100 in a training that works."""
NORM_REPORTS, NORM_REPORTS_NEEDED = 50, 20
"""Reports of the median, and how many of them there must be."""
CLEAR_KIMG = 20.0
"""Thousand images that the reason must be absent before an alarm may be said again."""


@dataclasses.dataclass
class _Alarm:
    """State of one alarm: when its reason began and last held, in kimg, and whether it was said."""

    began: float | None = None
    last: float = 0.0
    said: bool = False


class Alarms:
    """The alarms of one run, which gets report after report."""

    def __init__(self):
        self._alarms: dict[str, _Alarm] = collections.defaultdict(_Alarm)
        self._norms: dict[str, collections.deque[float]] = collections.defaultdict(
            lambda: collections.deque(maxlen=NORM_REPORTS)
        )

    def check(self, kimg: float, values: Mapping[str, float]) -> list[str]:
        """Take the finite averages of a report; return the lines to say, mostly none.

        Args:
            kimg: Thousands of images that the networks were trained on. It may decrease, where
                training returns to an earlier checkpoint.
            values: Averages by name. Without "overfitting/r_t" the logits have no zero, as those
                of the Wasserstein loss, and raise no alarm.
        """
        lines = []
        for name, value, holds, lasting, words in self._reasons(values):
            alarm = self._alarms[name]
            lasted = self._lasted(alarm, holds, kimg)
            if lasted >= lasting and not alarm.said:
                alarm.said = True
                words = words.format(name=name, value=value, lasted=lasted)
                lines.append(f"warning: {words}")
        return lines

    def _reasons(
        self, values: Mapping[str, float]
    ) -> Iterator[tuple[str, float, bool, float, str]]:
        """Yield name, value, whether it is a reason, kimg that it must last, and its words."""
        r_t, real, fake = map(values.get, ("overfitting/r_t", "logits/real", "logits/fake"))
        if r_t is not None:
            yield "r_t", r_t, r_t > R_T, LASTING_KIMG, _REMEMBERS
        if r_t is not None and real is not None and fake is not None:
            apart = real - fake
            yield "logits", apart, apart > LOGITS_APART, LASTING_KIMG, _APART
        diversity = values.get("diversity/generated")
        if diversity is not None:
            yield "diversity", diversity, diversity < DIVERSITY, LASTING_KIMG, _COLLAPSED
        for name, value in values.items():
            if name.startswith("gradient_norm/"):
                norms = self._norms[name]
                median = statistics.median(norms) if len(norms) >= NORM_REPORTS_NEEDED else value
                yield name, value, value > NORM_RATIO * median, 0.0, _EXPLODES
                norms.append(value)

    def _lasted(self, alarm: _Alarm, holds: bool, kimg: float) -> float:
        """Return for how many kimg the reason of an alarm has held; -1 if it does not."""
        if holds:
            alarm.began = kimg if alarm.began is None else min(kimg, alarm.began)
            alarm.last = kimg
            return kimg - alarm.began
        alarm.began = None
        if kimg - alarm.last >= CLEAR_KIMG:
            alarm.said = False
        return -1.0


_REMEMBERS = (
    f"{{name}} has been above {R_T} for {{lasted:.0f}} kimg: the discriminator overfits "
    "the training images; use more of them, augmentation (augment.transforms bgc), data.mirror, "
    "or more R1 (loss.r1_gamma)"
)
_APART = (
    f"{{name}} of real and generated images have been over {LOGITS_APART:g} apart for "
    "{lasted:.0f} kimg: the generator learns little from such a discriminator; use more R1 "
    "(loss.r1_gamma), R2 too (loss.r2_gamma), or a lower optimizer.discriminator_learning_rate"
)
_COLLAPSED = (
    f"{{name}} of generated images has been below {DIVERSITY:g} of that of real ones for "
    "{lasted:.0f} kimg: the generator has collapsed to almost one image; return to an earlier "
    "checkpoint with more R1 and R2 (loss.r1_gamma, loss.r2_gamma), relativistic losses "
    "(loss.generator, loss.discriminator), or a lower optimizer.learning_rate"
)
_EXPLODES = (
    f"{{name}} is {{value:.3g}}, over {NORM_RATIO:g} times its median: if losses grow too, use a "
    "lower learning rate, the optimizer's gradient_clip, or float32 where it is bfloat16"
)
