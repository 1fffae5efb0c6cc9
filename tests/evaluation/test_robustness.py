"""Accuracy on corrupted digits: what each corruption does, and how the accuracy is measured and written."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from digits.data import sample
from digits.data.batches import Digits
from digits.evaluation import robustness
from digits.evaluation.robustness import CORRUPTIONS, Images
from digits.explanation.explain import draw_robustness


@pytest.fixture(scope="module")
def images() -> Images:
    return sample.load()[0][::100]


def ink(images: Images) -> float:
    return float(images.mean())


def test_shifts_go_in_eight_directions() -> None:
    dots = np.zeros((8, 28, 28), np.uint8)
    dots[:, 14, 14] = 200
    moved = robustness.shifted(dots, 3)
    places = {tuple(int(part) - 14 for part in place[1:]) for place in np.argwhere(moved == 200)}
    assert places == {(3 * down, 3 * right) for down in (-1, 0, 1) for right in (-1, 0, 1)} - {(0, 0)}


def test_every_other_image_turns_left_and_the_others_right() -> None:
    bars = np.zeros((2, 28, 28), np.uint8)
    bars[:, 13:15, 14:24] = 200  # from the middle to the right
    left, right = robustness.rotated(bars, 90).astype(int)
    assert left[4:14, 13:15].mean() == pytest.approx(200, abs=2)  # up
    assert right[14:24, 13:15].mean() == pytest.approx(200, abs=2)


def test_thickening_adds_ink_and_thinning_removes_it(images: Images) -> None:
    thick = [ink(robustness.thickened(images, pixels)) for pixels in (0, 0.5, 1, 1.5, 2)]
    thin = [ink(robustness.thinned(images, pixels)) for pixels in (0, 0.5, 1)]
    assert thick == sorted(thick)
    assert thin == sorted(thin, reverse=True)
    assert thick[0] == thin[0] == ink(images)
    bar = np.zeros((1, 28, 28), np.uint8)
    bar[0, 10:13] = 100
    assert (robustness.thickened(bar, 1)[0, :, 5] == 100).sum() == 5
    assert (robustness.thinned(bar, 1)[0, :, 5] == 100).sum() == 1


def test_noise_has_the_given_strength_and_is_the_same_each_time(images: Images) -> None:
    grey = np.full((10, 28, 28), 128, np.uint8)
    assert robustness.noisy(grey, 0.1).std() == pytest.approx(25.5, rel=0.05)
    np.testing.assert_array_equal(robustness.noisy(images, 0.2), robustness.noisy(images, 0.2))


def test_inversion_swaps_dark_and_bright_only_at_strength_1(images: Images) -> None:
    np.testing.assert_array_equal(robustness.inverted(images, 1), 255 - images)
    np.testing.assert_array_equal(robustness.inverted(images, 0), images)


@pytest.mark.parametrize("corruption", CORRUPTIONS.values(), ids=CORRUPTIONS.keys())
def test_corruptions_return_bytes_and_keep_their_input(corruption: robustness.Corruption, images: Images) -> None:
    before = images.copy()
    for strength in corruption.strengths:
        changed = corruption.apply(images, strength)
        assert changed.shape == images.shape
        assert changed.dtype == np.uint8
        assert not np.array_equal(changed, images)
    np.testing.assert_array_equal(images, before)
    assert list(corruption.strengths) == sorted(corruption.strengths)


class BrightOnes(torch.nn.Module):
    """Reads a bright picture as a 1, and any other as a 0."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = (images.float().mean((1, 2)) > 128).float()
        return torch.stack([1 - bright, bright], dim=1)


def test_accuracies_are_measured_tabulated_written_and_drawn(tmp_path: Path) -> None:
    dark = np.zeros((30, 28, 28), np.uint8)
    dark[:, 14, 14] = 255
    test = Digits(torch.from_numpy(dark), torch.zeros(30, dtype=torch.int64), torch.arange(30))
    found = robustness.measure(BrightOnes(), test)
    assert set(found) == set(CORRUPTIONS)
    assert {accuracies[0] for accuracies in found.values()} == {1.0}
    assert found["inverted"][1] == 0.0
    assert set(found["shifted"].values()) == {1.0}
    assert "inverted, fraction" in robustness.table(found)
    files = [robustness.write(found, tmp_path), draw_robustness(found, tmp_path)]
    assert [file.name for file in files] == ["robustness.json", "robustness.png"]
    content = json.loads(files[0].read_text())
    assert content["rotated"] == {"unit": "degrees", "accuracy": {f"{s:g}": v for s, v in found["rotated"].items()}}
    assert files[1].read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_stronger_corruption_lowers_the_accuracy_of_a_trained_network(sample_run: Path) -> None:
    from digits.evaluation import evaluate as testing
    from digits.runs.find import find

    trained = find(sample_run)
    network, data = testing.open_test([trained])
    found = robustness.measure(network, data.digits)
    assert found["shifted"][0] == testing.evaluate(trained).test_accuracy
    assert found["shifted"][0] > found["shifted"][6]
    assert found["rotated"][45] < found["rotated"][5]
