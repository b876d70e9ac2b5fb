"""Alarms in words: raised with reason, said once, and not on a training that works."""

import numpy as np
import pytest

from ganformer_jax.train.logs.alarms import Alarms

WELL = {"overfitting/r_t": 0.5, "logits/real": 1.0, "logits/fake": -1.0}
WELL |= {"gradient_norm/generator": 0.5, "gradient_norm/discriminator": 0.2}
WELL |= {"diversity/generated": 0.8}


def said(reports, every=1.0, alarms=None):
    """The kimg of each line and the line, of reports that each change what is well."""
    alarms, found = alarms or Alarms(), []
    for number, changes in enumerate(reports):
        for line in alarms.check(number * every, WELL | changes):
            found.append((number * every, line))
    return found


HIGH = {"overfitting/r_t": 0.9}
APART = {"logits/real": 15.0, "logits/fake": -6.0}
COLLAPSED = {"diversity/generated": 0.02}
EXPLODED = {"gradient_norm/generator": 60.0}


def test_a_discriminator_that_remembers_its_images_is_said_after_20_kimg():
    ((kimg, line),) = said([{}] * 5 + [HIGH] * 40)
    assert kimg == 25.0
    assert line.startswith("warning: r_t has been above 0.8 for 20 kimg: the discriminator")
    assert "loss.r1_gamma" in line and "\n" not in line


def test_logits_far_apart_are_said_after_20_kimg():
    ((kimg, line),) = said([APART] * 60, every=5.0)
    assert kimg == 20.0
    assert line.startswith("warning: logits of real and generated images have been over 20 apart")


def test_generated_images_that_are_alike_are_said_after_20_kimg():
    ((kimg, line),) = said([{}] * 5 + [COLLAPSED] * 40)
    assert kimg == 25.0
    assert line.startswith("warning: diversity of generated images has been below 0.1 of that")
    assert "loss.r2_gamma" in line and "\n" not in line


def test_a_gradient_that_explodes_is_said_at_once():
    ((kimg, line),) = said([{}] * 30 + [EXPLODED] + [{}] * 10)
    assert kimg == 30.0
    assert line.startswith("warning: gradient_norm/generator is 60, over 100 times its median")


@pytest.mark.parametrize(
    "reports",
    [
        [HIGH] * 20 + [{}] + [HIGH] * 20,  # not lasting
        [APART] * 20 + [{}] + [APART] * 20,
        [COLLAPSED] * 20 + [{}] + [COLLAPSED] * 20,
        [{"diversity/generated": 0.1}] * 60,
        [EXPLODED] * 10,  # nothing to compare with
        [{}] * 10 + [EXPLODED],
        [{"gradient_norm/generator": 0.01 * 1.1**n} for n in range(60)],  # grows, but slowly
        [{"overfitting/r_t": 0.8}] * 60,
    ],
)
def test_no_alarm_without_reason(reports):
    assert said(reports) == []


def test_the_wasserstein_loss_has_no_zero_to_compare_logits_with():
    alarms = Alarms()
    values = {"logits/real": 500.0, "logits/fake": -500.0, "gradient_norm/generator": 1.0}
    assert not any(alarms.check(kimg, values) for kimg in range(100))


def test_a_model_that_logs_no_logits_has_the_alarm_about_r_t():
    alarms = Alarms()
    lines = [line for kimg in range(22) for line in alarms.check(kimg, {"overfitting/r_t": 0.9})]
    assert len(lines) == 1 and lines[0].startswith("warning: r_t")


def test_an_alarm_is_said_again_only_after_it_was_clear_for_20_kimg():
    flickering = ([HIGH] * 25 + [{}] * 5) * 4
    assert [kimg for kimg, _ in said(flickering)] == [20.0]
    apart = [HIGH] * 25 + [{}] * 30 + [HIGH] * 25
    assert [kimg for kimg, _ in said(apart)] == [20.0, 75.0]
    spikes = [{}] * 30 + ([EXPLODED] + [{}] * 9) * 5
    assert [kimg for kimg, _ in said(spikes)] == [30.0]


def test_a_run_that_returns_to_an_earlier_checkpoint():
    alarms = Alarms()
    lines = [
        line for kimg in (100, 115, 50, 60, 69, 70) for line in alarms.check(kimg, WELL | HIGH)
    ]
    assert len(lines) == 1  # at 70, 20 kimg after 50
    assert not Alarms().check(69, WELL | HIGH)


def test_two_reasons_are_two_lines():
    found = said([HIGH | APART] * 30)
    assert [kimg for kimg, _ in found] == [20.0, 20.0]


def test_norms_of_a_training_that_works_raise_no_alarm():
    """Of lognormal noise whose largest values are 15 times the median."""
    random = np.random.default_rng(0)
    norms = np.exp(0.8 * random.standard_normal((500, 2)))
    assert not said([{"gradient_norm/generator": a, "gradient_norm/r1": b} for a, b in norms])
