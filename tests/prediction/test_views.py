"""Turned and smaller copies: what they are, and which predictions average them."""

from pathlib import Path

import numpy as np
import pytest

import digits
from digits.data import sample
from digits.prediction.views import views

IMAGES, _ = sample.load()


def test_turned_and_smaller_copies() -> None:
    copies = views(IMAGES[:3])
    assert len(copies) == 9  # and the images themselves
    assert not any(np.array_equal(copy, IMAGES[:3]) for copy in copies)
    assert {copy.shape for copy in copies} == {(3, 28, 28)}
    smaller = copies[4]  # turned by nothing
    assert smaller.sum() < 0.9 * IMAGES[:3].sum(dtype=int)


@pytest.mark.parametrize("averaged", [False, True])
def test_the_probabilities_of_unfamiliar_images_are_averaged(averaged: bool, sample_run: Path) -> None:
    """And those of all images if asked; familiarity and status are of the image itself."""
    reader = digits.load(sample_run)
    noise = np.random.default_rng(0).integers(0, 256, (10, 28, 28), dtype=np.uint8)
    images = np.concatenate([IMAGES[::250], noise])
    own, familiarity = reader.outputs(images)
    mean = np.mean([own, *map(reader.probabilities, views(images))], axis=0)
    unfamiliar = familiarity < reader.thresholds.familiarity
    assert 5 < unfamiliar.sum() < 25
    expected = np.where(unfamiliar[:, None] | averaged, mean, own)
    predictions = reader.predict_images(images, averaged)
    np.testing.assert_allclose([each.probabilities for each in predictions], expected, atol=1e-6)
    np.testing.assert_allclose([each.familiarity for each in predictions], familiarity, rtol=1e-6)
    assert [each.status == "unfamiliar" for each in predictions] == unfamiliar.tolist()
    assert reader.predict_images(images[:0], averaged) == []
