"""Turned and smaller copies of images, for the digits of rows and for unfamiliar images (benchmarks/README.md)."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

ANGLES = (-12, -6, 0, 6, 12)  # degrees
SCALES = (1.0, 0.88)


def views(images: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
    """Turned and smaller copies of images, (n, 28, 28) uint8 each."""
    middle = (images.shape[1] - 1) / 2
    copies = []
    for angle in np.radians(ANGLES):
        for scale in SCALES:
            if (angle, scale) == (0, 1):  # the images themselves
                continue
            cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
            matrix = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
            offset = np.array([0, middle, middle]) - matrix @ [0, middle, middle]
            turned = ndimage.affine_transform(images.astype(np.float32), matrix, offset, order=1)
            copies.append(turned.clip(0, 255).astype(np.uint8))
    return copies
