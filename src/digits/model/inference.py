"""The one inference loop of the project: many images, batch by batch, on any device."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from digits.model.familiarity import RatedNetwork, observe
from digits.model.network import Network

BATCH_SIZE = 500
CPU = torch.device("cpu")


def logits(network: nn.Module, images: Tensor, device: torch.device = CPU) -> Tensor:
    """Compute the logits of images, batch by batch, in float32.

    Args:
        network: In evaluation mode.
        images: (n, 28, 28) uint8.
        device: Where to compute.

    Returns:
        (n, classes) float32, on the CPU.
    """
    (outputs,) = _in_batches(lambda batch: (network(batch),), network, images, device)
    return outputs


def observations(network: Network, images: Tensor, device: torch.device = CPU) -> tuple[Tensor, Tensor]:
    """The same as `logits`, and the mean of each feature map, (n, maps) float32."""
    outputs, means = _in_batches(lambda batch: observe(network, batch), network, images, device)
    return outputs, means


def ratings(network: RatedNetwork, images: Tensor, device: torch.device = CPU) -> tuple[Tensor, Tensor]:
    """The same as `logits`, and the familiarity of each image, (n,) float32."""
    outputs, familiarity = _in_batches(network.rate, network, images, device)
    return outputs, familiarity


def _in_batches(
    compute: Callable[[Tensor], tuple[Tensor, ...]], network: nn.Module, images: Tensor, device: torch.device
) -> tuple[Tensor, ...]:
    be_exact()
    network.to(device)
    with torch.inference_mode():
        batches = [compute(batch.to(device)) for batch in torch.split(images, BATCH_SIZE)]
    return tuple(torch.cat([part.float().cpu() for part in parts]) for parts in zip(*batches, strict=True))


def be_exact() -> None:
    """Compute with all 32 bits on a GPU too, instead of 19 (TF32), so that machines differ only by rounding."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def best_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or CPU
