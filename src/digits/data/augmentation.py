"""Random changes of digits that leave them what they are: each image its own, a whole batch in a few calls."""

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from digits.model.geometry import IMAGE_SIZE

HALF = IMAGE_SIZE / 2  # pixels for a unit of grid_sample, whose image reaches from -1 to 1


class Augmentation:
    """Turns, moves, resizes, slants, bends and covers digits.

    An output pixel shows the input at a place that is a sum of a few fixed functions of where it is: x, y and 1 for the
    affine part, and bumps for the elastic one (Simard et al., 2003, https://doi.org/10.1109/ICDAR.2003.1227801). So the
    places of all pixels of a batch are one matrix product, of each image's own coefficients with those functions.

    Args:
        rotation: Largest angle, in degrees.
        shift: Farthest move, in pixels, along each axis.
        scale: Largest change of size: 0.1 for between 1/1.1 and 1.1, in width and height by themselves.
        shear: Largest slant, in degrees.
        elastic: How far a pixel is moved by bending, in pixels: standard deviation along each axis.
        smoothness: Pixels over which bends are alike: standard deviation of a bump.
        erase: Share of the images of which a part is covered (Zhong et al., 2020, https://arxiv.org/abs/1708.04896).
        erased: Largest side of that part, in pixels.
        final: Share of all this that is left in the last epoch, so that it ends with digits more as they are.
    """

    def __init__(
        self,
        rotation: float = 0.0,
        shift: float = 0.0,
        scale: float = 0.0,
        shear: float = 0.0,
        elastic: float = 0.0,
        smoothness: float = 4.0,
        erase: float = 0.0,
        erased: int = 8,
        final: float = 1.0,
    ) -> None:
        self.rotation = math.radians(rotation)
        self.shift = shift / HALF
        self.scale = math.log1p(scale)
        self.shear = math.radians(shear)
        self.elastic = elastic / HALF
        self.erase = erase
        self.erased = erased
        self.final = final
        self._functions = _functions(smoothness, bumps=elastic > 0)

    def strength(self, epoch: int, epochs: int) -> float:
        """What is left in an epoch, counted from 0, of so many: from 1 in the first, evenly, to `final` in the last."""
        return 1 - (1 - self.final) * epoch / max(1, epochs - 1)

    def __call__(self, images: Tensor, generator: torch.Generator | None = None, strength: float = 1.0) -> Tensor:
        """Change each image at random.

        Args:
            images: (batch, 28, 28) uint8, bright strokes on 0.
            generator: Of the random numbers, on the device of the images.
            strength: Share of all changes, 0 to 1.

        Returns:
            (batch, 28, 28) float32, 0 to 255.
        """
        self._functions = self._functions.to(images.device)
        coefficients = self._coefficients(len(images), generator, strength)
        places = (coefficients @ self._functions).view(-1, 2, IMAGE_SIZE, IMAGE_SIZE)
        pixels = images.unsqueeze(1).float()
        changed = grid_sample(pixels, places.permute(0, 2, 3, 1), align_corners=False).squeeze(1)
        return self._erase(changed, generator, strength) if self.erase else changed

    def _coefficients(self, n: int, generator: torch.Generator | None, strength: float) -> Tensor:
        """Of x, y, 1 and the bumps, for the x and the y that each output pixel shows, (n, 2, functions)."""
        device = self._functions.device
        drawn = (torch.rand(6, n, generator=generator, device=device) * 2 - 1) * strength
        angle, slant = drawn[0] * self.rotation, drawn[1] * self.shear
        width, height = torch.exp(drawn[2:4] * self.scale)
        sine, cosine, slope = angle.sin(), angle.cos(), slant.tan()
        x = torch.stack([cosine * width, (slope * cosine - sine) * width, drawn[4] * self.shift], dim=1)
        y = torch.stack([sine * height, (slope * sine + cosine) * height, drawn[5] * self.shift], dim=1)
        affine = torch.stack([x, y], dim=1)
        bumps = len(self._functions) - 3
        if not bumps:
            return affine
        bends = torch.randn(n, 2, bumps, generator=generator, device=device) * (self.elastic * strength)
        return torch.cat([affine, bends], dim=2)

    def _erase(self, images: Tensor, generator: torch.Generator | None, strength: float) -> Tensor:
        """Cover a rectangle in some of the images with background."""
        drawn = torch.rand(5, len(images), 1, generator=generator, device=images.device)
        pixels = torch.arange(IMAGE_SIZE, device=images.device) + 0.5
        rows, columns = (
            (pixels - drawn[axis] * IMAGE_SIZE).abs() < drawn[axis + 2] * self.erased / 2 for axis in (0, 1)
        )
        covered = (rows & (drawn[4] < self.erase * strength)).unsqueeze(2) & columns.unsqueeze(1)
        return images.masked_fill(covered, 0.0)


def _functions(smoothness: float, bumps: bool) -> Tensor:
    """x, y and 1 of each pixel, and bumps of a Gaussian's shape all over the image, (functions, 784).

    A sum of the bumps with weights of standard deviation 1 has standard deviation 1 everywhere.
    """
    axis = (torch.arange(IMAGE_SIZE) + 0.5) / HALF - 1
    y, x = (part.flatten() for part in torch.meshgrid(axis, axis, indexing="ij"))
    affine = torch.stack([x, y, torch.ones_like(x)])
    if not bumps:
        return affine
    deviation = smoothness / HALF
    step = 1.5 * deviation
    reach = math.ceil(1 / step)  # to the edge, or beyond it
    centres = torch.arange(-reach, reach + 1) * step
    across, down = (torch.exp(-(((part - centres[:, None]) / deviation) ** 2) / 2) for part in (x, y))
    bends = (down[:, None] * across[None]).flatten(0, 1)
    return torch.cat([affine, bends / bends.square().sum(0).sqrt()])
