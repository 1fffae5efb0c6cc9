"""Digits in pictures of many kinds, as people photograph and draw them; and sheets without a digit."""

import runpy
import zlib
from pathlib import Path

import numpy as np
import pytest

import digits
from digits.data import sample
from digits.data.download import obtain, parse_idx
from digits.preparation import photo
from digits.training.train import train

from ..helpers import ROOT, composed

PICTURES = runpy.run_path(str(ROOT / "benchmarks/pictures.py"))
KINDS = {**PICTURES["USUAL_KINDS"], **PICTURES["HARD_KINDS"]}
IMAGES, LABELS = sample.load()


def read(reader: digits.DigitReader, kind: str, images: np.ndarray, labels: np.ndarray) -> float:
    """The fraction of digits that are read correctly when they are drawn as one of the kinds."""
    rng = np.random.default_rng(zlib.crc32(kind.encode()))
    right = 0
    for image, label in zip(images, labels, strict=True):
        try:
            right += reader.predict(KINDS[kind](image, rng)).digit == label
        except photo.NoDigitError:
            continue
    return right / len(labels)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_nearly_as_well_as_mnist(kind: str, sample_run: Path) -> None:
    reader = digits.load(sample_run)
    images, labels = IMAGES[::125], LABELS[::125]
    accuracy = np.mean([answer.digit == label for answer, label in zip(reader.predict(images), labels, strict=True)])
    assert read(reader, kind, images, labels) >= accuracy - 0.2  # a small network, trained on few digits


@pytest.mark.long
@pytest.mark.mnist
def test_every_kind_is_read_by_a_good_network(mnist_root: Path, tmp_path: Path) -> None:
    words = ["experiment=compact", "report=false", "trainer.accelerator=cpu", f"data.root={mnist_root}"]
    train(composed(*words), tmp_path / "run")
    reader, contents = digits.load(tmp_path / "run"), obtain(mnist_root).contents
    images, labels = (
        parse_idx(contents[f"train-{name}-ubyte"])[:10_000:100] for name in ("images-idx3", "labels-idx1")
    )
    found = {kind: read(reader, kind, images, labels) for kind in KINDS}
    assert min(found.values()) >= 0.93, found
    assert np.mean(list(found.values())) >= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("paper", PICTURES["PAPERS"], ids=lambda paper: paper.__name__)
def test_sheets_without_a_digit_are_refused(paper: object) -> None:
    rng, refused = np.random.default_rng(0), 0
    for _ in range(12):
        try:
            photo.digit(PICTURES["blank"](paper, rng))
        except photo.NoDigitError:
            refused += 1
    assert refused >= 11
