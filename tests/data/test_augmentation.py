"""Augmentation: the effect of each change, a different one for each image, and the same one for the same seed."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from digits.config import AugmentConfig
from digits.data.augmentation import Augmentation

CHANGES: list[dict[str, Any]] = [
    {"rotation": 20},
    {"shift": 3},
    {"scale": 0.2},
    {"shear": 15},
    {"elastic": 1},
    {"thickness": 1},
    {"erase": 1},
]


def digits(n: int = 64) -> Tensor:
    """Images, (n, 28, 28) uint8, with a bar from the middle upwards, and a dot on the right."""
    images = torch.zeros(n, 28, 28, dtype=torch.uint8)
    images[:, 6:14, 13:15] = 200
    images[:, 13:15, 18:20] = 100
    return images


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def centre(images: Tensor) -> Tensor:
    """Centre of the ink, in pixels from the middle of the image, (n, 2): right, down."""
    axis = torch.arange(28) - 13.5
    ink = images.double().clamp(min=0)
    total = ink.sum((1, 2))
    return torch.stack([(ink.sum(1) * axis).sum(1) / total, (ink.sum(2) * axis).sum(1) / total], dim=1)


def test_the_default_augmentation_changes_nothing() -> None:
    images = torch.randint(0, 256, (8, 28, 28), dtype=torch.uint8, generator=generator())
    assert torch.allclose(Augmentation(AugmentConfig())(images), images.float(), atol=0.02)


@pytest.mark.parametrize("strength", CHANGES)
def test_each_image_changes_in_its_own_way_and_a_seed_repeats_it(strength: dict[str, Any]) -> None:
    augmentation, images = Augmentation(AugmentConfig(**strength)), digits() + 40
    changed = augmentation(images, generator())
    assert changed.shape == (64, 28, 28)
    assert changed.dtype == torch.float32
    assert changed.min() >= 0
    assert changed.max() <= 240.001
    assert len(torch.unique(changed.flatten(1), dim=0)) > 50
    assert torch.equal(augmentation(images, generator()), changed)
    assert not torch.equal(augmentation(images, generator(1)), changed)


def test_thickness_blends_in_strokes_one_pixel_thicker_or_thinner() -> None:
    images = torch.zeros(500, 28, 28, dtype=torch.uint8)
    images[:, 5:20, 12:15] = 200  # three pixels wide
    changed = Augmentation(AugmentConfig(thickness=1))(images, generator())
    beside, edge, middle = (changed[:, 12, column] for column in (11, 12, 13))
    thicker = beside > 1
    assert 200 < thicker.sum() < 300
    assert torch.allclose(edge[thicker], torch.tensor(200.0), atol=0.1)
    assert (edge[~thicker] <= 200.1).all()
    assert torch.allclose(middle, torch.tensor(200.0), atol=0.1)  # the middle does not change
    assert beside.max() > 195
    assert edge.min() < 5
    half = Augmentation(AugmentConfig(thickness=1))(images, generator(), strength=0.5)
    assert half[:, 12, 11].max() <= 100.1
    assert half[:, 12, 12].min() >= 99.9


def six(n: int) -> Tensor:
    """Sixes: a stroke down to a ring, (n, 28, 28) uint8."""
    images = torch.zeros(n, 28, 28, dtype=torch.uint8)
    images[:, 4:24, 9:12] = 255
    images[:, 15:24, 9:19] = 255
    images[:, 18:21, 12:16] = 0
    return images


def test_a_six_gets_a_hook_to_the_right() -> None:
    images = six(200)
    changed = Augmentation(AugmentConfig(serif=1))(images, generator())
    added = changed > images.float() + 1
    assert (added.sum((1, 2)) > 4).all()  # pixels
    assert not added[:, 10:].any()  # only at the upper end
    assert not added[:, :, :8].any()  # not on the left; the round end of the stroke reaches column 8
    assert added[:, :, 15].any(1).all()
    for other in (images.flip(1), images.rot90(1, (1, 2))):  # upside down, and on its side
        assert torch.allclose(Augmentation(AugmentConfig(serif=1))(other, generator()), other.float(), atol=0.1)
    wide = images.clone()
    wide[:, 4:8, 9:19] = 255  # it already has a bar
    assert torch.allclose(Augmentation(AugmentConfig(serif=1))(wide, generator()), wide.float(), atol=0.1)


def test_a_slim_upright_stroke_gets_a_serif_and_a_wide_one_does_not() -> None:
    one, other = (torch.zeros(200, 28, 28, dtype=torch.uint8) for _ in range(2))
    one[:, 4:24, 13:16] = 255
    other[:, 4:24, 8:20] = 255
    changed = Augmentation(AugmentConfig(serif=1))(one, generator())
    added = (changed > one.float() + 1).float()
    assert (added.sum((1, 2)) > 4).all()  # pixels
    rows, columns = (added.any(axis).float() for axis in (2, 1))
    assert rows[:, 15:].sum() == 0  # only at the upper end
    assert columns[:, 17:].sum() == 0  # not on the right; the round end of the stroke reaches column 16
    assert (changed >= one - 0.1).all()
    assert torch.allclose(Augmentation(AugmentConfig(serif=1))(other, generator()), other.float(), atol=0.1)
    some = (Augmentation(AugmentConfig(serif=1))(one, generator(), strength=0.3) > one.float() + 1).any((1, 2)).sum()
    assert 40 < some < 80  # of 200
    assert torch.allclose(
        Augmentation(AugmentConfig(serif=1))(torch.zeros_like(one), generator()), torch.zeros(200, 28, 28)
    )


def test_a_shift_is_uniform_up_to_the_given_number_of_pixels() -> None:
    moved = centre(Augmentation(AugmentConfig(shift=3))(digits(500), generator())) - centre(digits(1))
    assert 2.9 < moved.abs().max() <= 3.001
    assert moved.mean(0).abs().max() < 0.2
    assert torch.allclose(moved.std(0), torch.full((2,), 6 / math.sqrt(12), dtype=torch.double), atol=0.1)  # uniform


def test_a_rotation_turns_around_the_middle_by_up_to_the_given_angle() -> None:
    before, after = centre(digits(1)), centre(Augmentation(AugmentConfig(rotation=30))(digits(500), generator()))
    turned = torch.atan2(after[:, 1], after[:, 0]) - torch.atan2(before[:, 1], before[:, 0])
    assert math.radians(29) < turned.abs().max() < math.radians(31)
    assert torch.allclose(after.norm(dim=1), before.norm(dim=1).expand(500), atol=0.05)


def test_width_and_height_scale_independently_within_the_bounds() -> None:
    square = torch.zeros(500, 28, 28, dtype=torch.uint8)
    square[:, 8:20, 8:20] = 255
    changed = Augmentation(AugmentConfig(scale=0.25))(square, generator()) / 255
    widths, heights = (changed.sum(axis).max(1).values / 12 for axis in (2, 1))
    for factors in (widths, heights):
        assert 0.79 < factors.min() < 0.82
        assert 1.22 < factors.max() < 1.26
    assert torch.corrcoef(torch.stack([widths, heights]))[0, 1].abs() < 0.15  # independent of each other


def test_a_slant_moves_each_row_in_proportion_to_its_height() -> None:
    column = torch.zeros(300, 28, 28, dtype=torch.uint8)
    column[:, 4:24, 13:15] = 255
    slanted = Augmentation(AugmentConfig(shear=20))(column, generator())
    axis = torch.arange(28) - 13.5
    middles = (slanted * axis).sum(2) / slanted.sum(2).clamp(min=1)
    assert middles[:, 6].abs().max() == pytest.approx(7.5 * math.tan(math.radians(20)), abs=0.15)
    assert torch.allclose(middles[:, 6], -middles[:, 21], atol=0.1)


@pytest.mark.parametrize("smoothness", [2.0, 4.0, 9.0])
def test_elastic_displacements_are_equally_strong_everywhere_and_smooth(smoothness: float) -> None:
    augmentation = Augmentation(AugmentConfig(elastic=1.5, smoothness=smoothness))
    coefficients = augmentation._coefficients(4000, generator(), 1)
    affine = torch.eye(3)[:2].expand(4000, 2, 3)
    assert torch.allclose(coefficients[:, :, :3], affine)
    moved = (coefficients[:, :, 3:] @ augmentation._functions[3:]).view(-1, 2, 28, 28) * 14  # pixels
    assert torch.allclose(moved.std(0), torch.full((2, 28, 28), 1.5), atol=0.12)
    neighbours = (moved[..., 1:] * moved[..., :-1]).mean() / moved.square().mean()
    assert neighbours == pytest.approx(math.exp(-1 / (4 * smoothness**2)), abs=0.03)


def test_a_rectangle_is_erased_from_the_given_fraction_of_images() -> None:
    images = torch.full((2000, 28, 28), 255, dtype=torch.uint8)
    covered = Augmentation(AugmentConfig(erase=0.4, erased=10))(images, generator()) < 100
    covered[:, [0, -1]] = covered[:, :, [0, -1]] = False  # the edge is not checked
    rows, columns = covered.any(2), covered.any(1)
    assert torch.equal(covered, rows.unsqueeze(2) & columns.unsqueeze(1))  # a rectangle
    assert rows.sum(1).max() in (9, 10)
    assert covered.any((1, 2)).float().mean() == pytest.approx(0.37, abs=0.04)  # a few rectangles cover no pixel


def test_strength_falls_linearly_to_its_final_value() -> None:
    augmentation = Augmentation(AugmentConfig(rotation=10, final=0.2))
    assert [augmentation.strength(epoch, 5) for epoch in range(5)] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])
    assert augmentation.strength(0, 1) == 1
    assert Augmentation(AugmentConfig(rotation=10)).strength(4, 5) == 1


def test_strength_scales_the_changes() -> None:
    augmentation = Augmentation(AugmentConfig(**{name: value for change in CHANGES for name, value in change.items()}))
    images = torch.randint(0, 256, (64, 28, 28), dtype=torch.uint8, generator=generator())
    assert torch.allclose(augmentation(images, generator(), strength=0), images.float(), atol=0.02)
    half = Augmentation(AugmentConfig(rotation=10, shift=1.5, shear=7.5, elastic=0.5))
    whole = Augmentation(AugmentConfig(rotation=20, shift=3, shear=15, elastic=1))
    assert torch.allclose(whole(images, generator(), strength=0.5), half(images, generator()), atol=0.02)


def test_augmentation_computes_on_the_device_of_the_images() -> None:
    """The meta device stands in for any other device."""
    images = torch.zeros(5, 28, 28, dtype=torch.uint8, device="meta")
    changed = Augmentation(AugmentConfig(rotation=10, elastic=1, erase=0.5))(images)
    assert changed.device.type == "meta"
    assert changed.shape == (5, 28, 28)
