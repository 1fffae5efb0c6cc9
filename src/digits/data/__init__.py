"""MNIST: its files, and batches of them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from digits.data.mnist import MNISTDataModule

__all__ = ["MNISTDataModule"]


def __getattr__(name: str) -> Any:
    """Import the data module only when it is asked for: `digits data` needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from digits.data.mnist import MNISTDataModule

    return MNISTDataModule
