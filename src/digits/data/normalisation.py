"""From pixels to what the network takes: the one place where it is done, in training, prediction and export."""

from torch import Tensor

MEAN, STD = 0.1307, 0.3081
"""Mean and standard deviation of MNIST's training pixels, scaled to 0 to 1; as people have used them since LeNet."""

BACKGROUND = -MEAN / STD
"""What a pixel without ink becomes."""


def normalise(images: Tensor) -> Tensor:
    """Turn pixels into what the network takes.

    Args:
        images: (batch, 28, 28) uint8, or float of the same range, bright strokes on 0.

    Returns:
        (batch, 1, 28, 28) float32 on the same device, with mean 0 and standard deviation 1 over MNIST.
    """
    return images.unsqueeze(1).float().sub(255 * MEAN).div_(255 * STD)
