"""Turned and smaller copies of images, and the predictions that are averaged over them."""

from pathlib import Path

import numpy as np
import pytest

import digits
from digits.data import sample
from digits.model.spec import DataSpec, Thresholds
from digits.prediction.predict import DigitReader
from digits.prediction.views import views

IMAGES, _ = sample.load()


def test_views_are_nine_turned_or_smaller_copies() -> None:
    copies = views(IMAGES[:3])
    assert len(copies) == 9  # besides the images themselves
    assert not any(np.array_equal(copy, IMAGES[:3]) for copy in copies)
    assert {copy.shape for copy in copies} == {(3, 28, 28)}
    smaller = copies[4]  # not turned
    assert smaller.sum() < 0.9 * IMAGES[:3].sum(dtype=int)


@pytest.mark.parametrize("averaged", [False, True])
def test_unfamiliar_images_are_averaged_and_less_certain(averaged: bool, sample_run: Path) -> None:
    """Familiar images are averaged on request. Familiarity and status are those of the image itself."""
    reader = digits.load(sample_run)
    noise = np.random.default_rng(0).integers(0, 256, (10, 28, 28), dtype=np.uint8)
    images = np.concatenate([IMAGES[::10], noise])
    own, familiarity = reader.outputs(images)
    unfamiliar = familiarity < reader.thresholds.familiarity
    assert reader.thresholds.temperature > 1.5
    plain, lowered, strange = [], [], []
    for probabilities, rating in map(reader.outputs, [images, *views(images)]):
        logits = np.log(probabilities.clip(1e-30)) / reader.thresholds.temperature
        powers = np.exp(logits - logits.max(1, keepdims=True))
        softmax = powers / powers.sum(1, keepdims=True)
        plain.append(probabilities)
        strange.append(rating < reader.thresholds.familiarity)
        lowered.append(np.where(strange[-1][:, None], softmax, probabilities))
    assert (unfamiliar & ~np.all(strange, axis=0)).any()  # some unfamiliar image has a familiar copy
    assert (~unfamiliar & np.any(strange, axis=0)).any()  # some familiar image has an unfamiliar copy
    familiar = np.mean(plain, axis=0) if averaged else own
    expected = np.where(unfamiliar[:, None], np.mean(lowered, axis=0), familiar)
    predictions = reader.predict_images(images, averaged)
    np.testing.assert_allclose([each.probabilities for each in predictions], expected, atol=1e-5)
    np.testing.assert_allclose([each.familiarity for each in predictions], familiarity, rtol=1e-6)
    assert [each.status == "unfamiliar" for each in predictions] == unfamiliar.tolist()
    assert reader.predict_images(images[:0], averaged) == []


def test_whole_pictures_are_not_turned() -> None:
    """Their edges are not empty. An unfamiliar whole picture is less certain too."""
    softmax = np.array([0.64, 0.36], np.float32)
    seen: list[int] = []

    def compute(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen.append(len(images))
        return np.tile(softmax, (len(images), 1)), np.zeros(len(images), np.float32)

    spec = DataSpec(classes=("hat", "coat"), prepare="resize")
    reader = DigitReader(compute, data=spec, thresholds=Thresholds(familiarity=1.0, temperature=2.0))
    (prediction,) = reader.predict_images(IMAGES[:1])
    assert prediction.probabilities == pytest.approx((0.8 / 1.4, 0.6 / 1.4))  # the temperature of 2 takes square roots
    assert seen == [1]
