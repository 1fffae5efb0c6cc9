"""Random augmentation of digits: different for each image, and a few calls for a whole batch."""

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from digits.model.geometry import IMAGE_SIZE

HALF = IMAGE_SIZE / 2  # pixels per unit of grid_sample, whose image extends from -1 to 1


class Augmentation:
    """Rotates, shifts, scales, shears, distorts and partly erases digits.

    Each output pixel samples the input at a position that is a sum of a few fixed functions of its own position: x, y
    and 1 for the affine part, and bumps for the elastic part (Simard et al., 2003,
    https://doi.org/10.1109/ICDAR.2003.1227801). The sampling positions of a whole batch are therefore one matrix
    product: the coefficients of each image times these functions.

    Args:
        rotation: Largest angle, in degrees.
        shift: Largest shift along each axis, in pixels.
        scale: Largest relative change of width and, independently, of height: 0.1 for 1/1.1 to 1.1.
        shear: Largest slant, in degrees.
        elastic: Standard deviation of the elastic displacement along each axis, in pixels.
        smoothness: Standard deviation of a bump, in pixels; the displacement is similar over this distance.
        erase: Fraction of images in which a rectangle is erased (Zhong et al., 2020,
            https://arxiv.org/abs/1708.04896).
        erased: Longest side of that rectangle, in pixels.
        final: Fraction of all this that is left in the last epoch, so that training ends with more natural digits.
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
        places = (coefficients @ self._functions).view(-1, 2, IMAGE_SIZE, IMAGE_SIZE)
        pixels = images.unsqueeze(1).float()
        changed = grid_sample(pixels, places.permute(0, 2, 3, 1), align_corners=False).squeeze(1)
        return self._erase(changed, generator, strength) if self.erase else changed

    def _coefficients(self, n: int, generator: torch.Generator | None, strength: float) -> Tensor:
        """Coefficients of x, y, 1 and the bumps, for the x and y that each output pixel samples, (n, 2, functions)."""
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
        """Erase a rectangle in some of the images."""
        drawn = torch.rand(5, len(images), 1, generator=generator, device=images.device)
        pixels = torch.arange(IMAGE_SIZE, device=images.device) + 0.5
        rows, columns = (
            (pixels - drawn[axis] * IMAGE_SIZE).abs() < drawn[axis + 2] * self.erased / 2 for axis in (0, 1)
        )
        covered = (rows & (drawn[4] < self.erase * strength)).unsqueeze(2) & columns.unsqueeze(1)
        return images.masked_fill(covered, 0.0)


def _functions(smoothness: float, bumps: bool) -> Tensor:
    """x, y and 1 of each pixel, and Gaussian bumps on a grid over the image, (functions, 784).

    Their sum, with random weights of standard deviation 1, has standard deviation 1 at every pixel.
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
