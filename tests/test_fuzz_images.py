"""Hundreds of damaged images; `make soak` tries tens of thousands."""

import pytest
from fuzz_images import failures, fuzz


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_a_damaged_image_is_decoded_as_by_pillow_or_named(kind):
    found = fuzz(kind, first=0, count=400)
    assert failures(found) == {}
    assert len(found["verdicts"]["cpu: equal"]) > 50
    assert len(found["verdicts"]["cpu: refused"]) > 50
