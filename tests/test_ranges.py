"""Lists of numbers on the command line."""

import pytest

from ganformer_jax.cli.ranges import MOST, SEEDS, check_seeds, parse_ranges
from ganformer_jax.errors import UserError


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("7", [7]), ("1,5,10-12", [1, 5, 10, 11, 12]), (" 3 , 1-3,", [3, 1, 2]), ("99", [99])],
)
def test_lists_and_ranges(text, numbers):
    assert parse_ranges(text, "--seeds", 100) == numbers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--seeds is empty"),
        ("1;2", "1;2 is not a number"),
        ("-3", "-3 is not a number"),
        ("5-2", "5-2 ends before"),
        ("99-100", "99-100 is not below 100"),
        ("0-99999999999999", "is not below"),
    ],
)
def test_what_is_no_list(text, message):
    with pytest.raises(UserError, match=message):
        parse_ranges(text, "--seeds", 100)


def test_seeds_are_bounded_by_memory():
    for text in (f"0-{SEEDS - 1}", f"5,{MOST}-{2 * MOST}"):
        with pytest.raises(UserError, match="1,000,000 numbers at most"):
            parse_ranges(text, "--seeds", SEEDS)
    assert len(check_seeds(SEEDS - MOST, MOST)) == MOST
    with pytest.raises(UserError, match="1,000,000 images at most, then more from --seed 1000007"):
        check_seeds(7, MOST + 1)
