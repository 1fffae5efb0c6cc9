"""Ensembles and test-time augmentation: the mean of several networks, or of several copies of each digit."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from digits.data import sample
from digits.errors import UserError
from digits.evaluation import evaluate as testing
from digits.evaluation import metrics as evaluation
from digits.evaluation.ensemble import SHIFTED, Ensemble, shifted
from digits.runs.checkpoint import Checkpoint
from digits.runs.find import find
from digits.training.train import train

from ..helpers import Compose, run


class Constant(torch.nn.Module):
    """Gives the same logits for every digit."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(images), -1)


def test_the_probabilities_are_averaged() -> None:
    one, other = Constant(0.0, 0.0), Constant(0.0, 40.0)  # probabilities (1/2, 1/2) and (0, 1)
    found = Ensemble([one, other])(torch.zeros(3, 1, 28, 28)).softmax(1)
    assert torch.allclose(found, torch.tensor([[0.25, 0.75]]).expand(3, 2))


def test_a_shift_moves_whole_pixels_and_fills_in_background() -> None:
    pixels = torch.zeros(1, 28, 28, dtype=torch.uint8)
    pixels[0, 10, 27] = 255
    moved = shifted(pixels, -2, 3)
    expected = torch.zeros_like(pixels)
    expected[0, 13, 25] = 255
    assert torch.equal(moved, expected)
    assert torch.equal(shifted(pixels, 1, 0), torch.zeros_like(pixels))


def test_nine_shifted_copies_are_averaged(sample_run: Path) -> None:
    network = Checkpoint(sample_run / "checkpoints/best.ckpt").network()
    images = torch.from_numpy(sample.load()[0][:20].copy())
    assert len(set(SHIFTED)) == 9
    with torch.no_grad():
        each = torch.stack([network(shifted(images, *shift)).softmax(1) for shift in SHIFTED])
        assert torch.allclose(Ensemble([network], SHIFTED)(images).exp(), each.mean(0), atol=1e-6)


def test_a_network_twice_gives_the_same_result_and_tta_another(sample_run: Path) -> None:
    trained = find(sample_run)
    once, twice = testing.evaluate(trained), testing.evaluate(trained, trained)
    assert twice.confusion_matrix == once.confusion_matrix
    assert twice.test_loss == pytest.approx(once.test_loss, abs=1e-5)
    augmented = testing.evaluate(trained, tta=True)
    assert augmented.test_loss != once.test_loss
    assert np.trace(augmented.confusion_matrix) > 300
    best = str(trained.checkpoint)
    assert [(each.checkpoints, each.tta) for each in (once, twice, augmented)] == [
        ([], False),
        ([best, best], False),
        ([best], True),
    ]


def test_networks_with_different_test_sets_are_refused(sample_run: Path, tiny: Compose, tmp_path: Path) -> None:
    train(tiny(), tmp_path / "run")
    with pytest.raises(UserError, match="was tested on mnist, and the first one on mnist-sample-5k"):
        testing.evaluate(find(sample_run), find(tmp_path / "run"))


@pytest.mark.slow
def test_the_evaluation_of_an_ensemble_is_written_only_on_request(sample_run: Path, tmp_path: Path) -> None:
    """The run's own evaluation stays as its training wrote it."""
    shutil.copytree(sample_run, tmp_path / "run")
    shutil.copytree(sample_run, tmp_path / "other")
    before = (tmp_path / "run/evaluation.json").read_bytes()
    done = run("-m", "digits", "evaluate", "run", "other", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("--output FOLDER saves this.\n")
    done = run("-m", "digits", "evaluate", "run", "--tta", "--output", "kept", cwd=tmp_path)
    assert done.stdout.endswith("Written to kept/evaluation.json\n")
    kept = evaluation.read(tmp_path / "kept")
    assert kept
    assert (kept.checkpoints, kept.tta) == (["run/checkpoints/best.ckpt"], True)
    assert (tmp_path / "run/evaluation.json").read_bytes() == before
