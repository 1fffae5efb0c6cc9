"""Trainings on the drawings of a benchmark: three shapes from a few photos, and an unusual handwriting."""

import runpy
from pathlib import Path

import pytest

import digits
from digits.evaluation.evaluate import evaluate
from digits.runs.find import find
from digits.training.train import train

from ..helpers import ROOT, composed

DRAWINGS = runpy.run_path(str(ROOT / "benchmarks/drawings.py"))


@pytest.mark.slow
def test_three_shapes_are_learned_from_thirty_photos_each(tmp_path: Path) -> None:
    DRAWINGS["write"]("shapes", tmp_path / "shapes", 30, 0)
    DRAWINGS["write"]("shapes", tmp_path / "further", 30, 1)
    words = ["data=folder", f"data.root={tmp_path}/shapes", "model=compact", "report=false", "trainer.accelerator=cpu"]
    results = train(composed(*words), tmp_path / "run")
    assert results.train_seconds < 60
    assert results.dataset == {**results.dataset, "name": "shapes", "train": 72, "val": 0, "test": 18}
    reader = digits.load(tmp_path / "run")
    pictures = sorted((tmp_path / "further").rglob("*.png"))
    right = sum(reader.predict(path).label == path.parent.name for path in pictures)
    assert len(pictures) == 90
    assert right >= 86


@pytest.mark.long
@pytest.mark.mnist
def test_a_network_learns_an_unusual_handwriting(mnist_root: Path, tmp_path: Path) -> None:
    DRAWINGS["write"]("handwriting", tmp_path / "mine", 80, 0)
    words = ["experiment=compact", "report=false", "trainer.accelerator=cpu"]
    train(composed(*words, f"data.root={mnist_root}"), tmp_path / "mnist")
    DRAWINGS["write"]("handwriting", tmp_path / "unseen", 80, 1)
    for name in ("mine", "unseen"):
        assert evaluate(find(tmp_path / "mnist"), other=str(tmp_path / name)).test_accuracy <= 0.8
    own = ["data=folder", f"data.root={tmp_path}/mine", "data.test_size=0.5", "optimizer.lr=0.001"]
    results = train(composed(*words, *own, f"start_from={tmp_path}/mnist"), tmp_path / "own")
    assert results.test_accuracy >= 0.97
    assert evaluate(find(tmp_path / "own"), other=str(tmp_path / "unseen")).test_accuracy >= 0.97
    assert results.train_seconds < 60
