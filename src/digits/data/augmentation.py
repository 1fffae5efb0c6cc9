"""Random augmentation of digits: different for each image, and a few calls for a whole batch."""

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from digits.config import AugmentConfig
from digits.model.geometry import IMAGE_SIZE

HALF_INK = 127  # of 255; brighter pixels belong to a stroke
SLIMNESS, SHORTEST = 2.2, 10  # least height over width of a 1; least height of a 1 or 6, in pixels
UPPER_PART, WIDEST = 0.35, 6  # the stroke above the loop of a 6: fraction of the height, largest width in pixels
SERIF = (4.0, 9.0), (0.38, 1.16)  # of a 1, to the left: length in pixels, radians below the horizontal
HOOK = (5.0, 12.0), (-0.3, 0.25)  # the same of a 6, to the right
SERIF_WIDTH = (2.0, 3.2)  # pixels
HALF = IMAGE_SIZE / 2  # pixels per unit of grid_sample, whose image extends from -1 to 1


class Augmentation:
    """Rotates, shifts, scales, shears and distorts digits, changes their strokes, and erases parts of them.

    Each output pixel samples the input at a position that is a sum of a few fixed functions of its own position: x, y
    and 1 for the affine part, and bumps for the elastic part (Simard et al., 2003,
    https://doi.org/10.1109/ICDAR.2003.1227801). The sampling positions of a whole batch are therefore one matrix
    product: the coefficients of each image times these functions.

    Args:
        cfg: The settings of the changes.
    """

    def __init__(self, cfg: AugmentConfig) -> None:
        self.rotation = math.radians(cfg.rotation)
        self.shift = cfg.shift / HALF
        self.scale = math.log1p(cfg.scale)
        self.shear = math.radians(cfg.shear)
        self.elastic = cfg.elastic / HALF
        self.thickness = cfg.thickness
        self.serif = cfg.serif
        self.erase = cfg.erase
        self.erased = cfg.erased
        self.final = cfg.final
        self._functions = _functions(cfg.smoothness, bumps=cfg.elastic > 0)

    def strength(self, epoch: int, epochs: int) -> float:
        """Strength in an epoch, counted from 0: it falls linearly from 1 in the first epoch to `final` in the last."""
        return 1 - (1 - self.final) * epoch / max(1, epochs - 1)

    def __call__(self, images: Tensor, generator: torch.Generator | None = None, strength: float = 1.0) -> Tensor:
        """Augment each image at random.

        Args:
            images: (batch, 28, 28) uint8, bright strokes on 0.
            generator: Random number generator, on the device of the images.
            strength: Fraction of all changes, 0 to 1.

        Returns:
            (batch, 28, 28) float32, 0 to 255.
        """
        self._functions = self._functions.to(images.device)
        coefficients = self._coefficients(len(images), generator, strength)
        positions = (coefficients @ self._functions).view(-1, 2, IMAGE_SIZE, IMAGE_SIZE)
        if self.serif:
            images = self._add_serifs(images, generator, strength)
        strokes = self._thicken(images, generator, strength) if self.thickness else images.float()
        positions = positions.permute(0, 2, 3, 1)
        changed = grid_sample(strokes.unsqueeze(1), positions, align_corners=False).squeeze(1)
        return self._erase(changed, generator, strength) if self.erase else changed

    def _coefficients(self, n: int, generator: torch.Generator | None, strength: float) -> Tensor:
        """Coefficients of x, y, 1 and the bumps, for the x and y that each output pixel samples, (n, 2, functions)."""
        device = self._functions.device
        random = (torch.rand(6, n, generator=generator, device=device) * 2 - 1) * strength
        angle, slant = random[0] * self.rotation, random[1] * self.shear
        width, height = torch.exp(random[2:4] * self.scale)
        sine, cosine, slope = angle.sin(), angle.cos(), slant.tan()
        x = torch.stack([cosine * width, (slope * cosine - sine) * width, random[4] * self.shift], dim=1)
        y = torch.stack([sine * height, (slope * sine + cosine) * height, random[5] * self.shift], dim=1)
        affine = torch.stack([x, y], dim=1)
        bumps = len(self._functions) - 3
        if not bumps:
            return affine
        bends = torch.randn(n, 2, bumps, generator=generator, device=device) * (self.elastic * strength)
        return torch.cat([affine, bends], dim=2)

    def _thicken(self, images: Tensor, generator: torch.Generator | None, strength: float) -> Tensor:
        """Mix each image, uint8, with one whose strokes are a pixel thicker, or thinner, on each side; float32."""
        random = torch.rand(len(images), 1, 1, generator=generator, device=images.device) * 2 - 1
        amounts = random * (self.thickness * strength)
        grows = torch.where(amounts > 0, images, 255 - images)  # to thin the strokes, the background grows
        return images + amounts * (_largest_around(grows) - grows)

    def _add_serifs(self, images: Tensor, generator: torch.Generator | None, strength: float) -> Tensor:
        """Draw a stroke at the upper end of some digits: on a 1 down to the left, on a 6 to the right; uint8.

        Many people write such strokes, and MNIST rarely shows them. Ones and sixes are recognised by their shape, so
        that some other digits get a stroke too.
        """
        random = torch.rand(4, len(images), generator=generator, device=images.device)
        axis = torch.arange(IMAGE_SIZE, device=images.device)
        ink = images > HALF_INK
        rows = ink.any(2)
        height, top = rows.sum(1), rows.int().argmax(1)
        strokes = ink[:, :, 0] + (ink[:, :, 1:] & ~ink[:, :, :-1]).sum(2)  # the number that each row crosses
        lower = axis >= (top + UPPER_PART * height)[:, None]
        is_single = (strokes < 2).all(1)
        is_one = is_single & (height > SLIMNESS * ink.any(1).sum(1))
        is_six = ~is_single & (lower | (strokes < 2) & (ink.sum(2) <= WIDEST)).all(1)
        chosen = (random[0] < self.serif * strength) & (height > SHORTEST) & (is_one | is_six)
        upper = ink[torch.arange(len(images), device=images.device), top].float()
        left = (upper * axis).sum(1) / upper.sum(1).clamp(min=1)
        length, angle = (
            torch.where(is_one, _between(*ones, part), _between(*sixes, part))
            for ones, sixes, part in zip(SERIF, HOOK, random[1:3], strict=True)
        )
        across, down = torch.where(is_one, -length, length) * angle.cos(), length * angle.sin()
        x = axis - left[:, None, None]
        y = (axis - (top + 0.8)[:, None])[:, :, None]
        along = ((x * across[:, None, None] + y * down[:, None, None]) / length[:, None, None] ** 2).clamp(0, 1)
        distance = torch.hypot(x - along * across[:, None, None], y - along * down[:, None, None])
        width = _between(*SERIF_WIDTH, random[3])[:, None, None]
        stroke = 255 * chosen[:, None, None] * (width / 2 + 0.5 - distance).clamp(0, 1)
        return torch.maximum(images, stroke.to(images.dtype))

    def _erase(self, images: Tensor, generator: torch.Generator | None, strength: float) -> Tensor:
        """Erase a rectangle in some of the images (Zhong et al., 2020, https://arxiv.org/abs/1708.04896)."""
        random = torch.rand(5, len(images), 1, generator=generator, device=images.device)
        pixels = torch.arange(IMAGE_SIZE, device=images.device) + 0.5
        rows, columns = (
            (pixels - random[axis] * IMAGE_SIZE).abs() < random[axis + 2] * self.erased / 2 for axis in (0, 1)
        )
        covered = (rows & (random[4] < self.erase * strength)).unsqueeze(2) & columns.unsqueeze(1)
        return images.masked_fill(covered, 0.0)


def _between(low: float, high: float, random: Tensor) -> Tensor:
    return low + (high - low) * random


def _largest_around(images: Tensor) -> Tensor:
    """The largest value of each pixel and its eight neighbours, (batch, 28, 28)."""
    wide = pad(images, (1, 1, 1, 1))
    rows = torch.maximum(torch.maximum(wide[:, :-2], wide[:, 1:-1]), wide[:, 2:])
    return torch.maximum(torch.maximum(rows[:, :, :-2], rows[:, :, 1:-1]), rows[:, :, 2:])


def _functions(smoothness: float, bumps: bool) -> Tensor:
    """x, y and 1 of each pixel, and Gaussian bumps on a grid over the image, (functions, 784).

    The sum of the bumps, with random weights of standard deviation 1, has standard deviation 1 at every pixel.
    """
    axis = (torch.arange(IMAGE_SIZE) + 0.5) / HALF - 1
    y, x = (part.flatten() for part in torch.meshgrid(axis, axis, indexing="ij"))
    affine = torch.stack([x, y, torch.ones_like(x)])
    if not bumps:
        return affine
    deviation = smoothness / HALF
    step = 1.5 * deviation
    reach = math.ceil(1 / step)  # up to the edge, or beyond
    centres = torch.arange(-reach, reach + 1) * step
    across, down = (torch.exp(-(((part - centres[:, None]) / deviation) ** 2) / 2) for part in (x, y))
    bends = (down[:, None] * across[None]).flatten(0, 1)
    return torch.cat([affine, bends / bends.square().sum(0).sqrt()])
