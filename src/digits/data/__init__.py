"""From MNIST's files, and from a person's pictures, to normalised batches."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from digits.data.mnist import MNISTDataModule
    from digits.data.normalisation import normalise

__all__ = ["MNISTDataModule", "normalise"]


def __getattr__(name: str) -> Any:
    """Import a name only when it is asked for: `digits data` needs no torch, and prediction no Lightning."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = "mnist" if name == "MNISTDataModule" else "normalisation"
    return getattr(importlib.import_module(f"{__name__}.{room}"), name)
