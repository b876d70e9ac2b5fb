"""How the largest batch of a chip is found."""

import pytest
from tpu_batches import largest

from ganformer_jax.errors import UserError


@pytest.mark.parametrize("start", [1, 8, 96])
@pytest.mark.parametrize(
    "fixed, each, answer", [(0.1, 0.021, 40), (0.3, 0.3, 2), (0.1, 0.006, 144)]
)
def test_the_largest_batch_is_found_in_few_tries(start, fixed, each, answer):
    """Of shares of memory that grow with the images, but not in proportion."""
    tried = []

    def attempt(images):
        tried.append(images)
        share = fixed + each * images
        return ({"images": images} if share <= 1 else None), share

    assert largest(attempt, start) == (answer, {"images": answer})
    assert len(tried) <= 6 and len(set(tried)) == len(tried)


def test_a_chip_may_hold_no_image():
    with pytest.raises(UserError, match="not even one"):
        largest(lambda images: (None, 1.5), 8)
