"""From MNIST's files to normalised batches on the device."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from digits.data.module import MNISTDataModule, normalise

__all__ = ["MNISTDataModule", "normalise"]


def __getattr__(name: str) -> Any:
    """Import the module only when it is asked for: `digits data` needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from digits.data import module

    return getattr(module, name)
