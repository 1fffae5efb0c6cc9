"""Reads handwritten digits with a convolutional network.

``load("latest").predict("photo.jpg").digit`` reads a picture with the newest trained network.
"""

TYPE_CHECKING = False  # not from typing: the less is imported before Ctrl-C is handled, the better
if TYPE_CHECKING:
    from digits.overrides import compose
    from digits.prediction.predict import DigitReader, Prediction, load
    from digits.training.train import train

__all__ = ["DigitReader", "Prediction", "compose", "load", "train"]

_MODULES = {"compose": "digits.overrides", "train": "digits.training.train"}


def __getattr__(name: str) -> object:
    """Import a name only when it is used: the commands import this file too."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_MODULES.get(name, "digits.prediction.predict")), name)
