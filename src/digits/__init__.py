"""Reads handwritten digits with a convolutional network.

``load("latest").predict("photo.jpg").digit`` reads a picture with the newest trained network.
"""

TYPE_CHECKING = False  # not from typing: as little as possible is imported before Ctrl-C is handled
if TYPE_CHECKING:
    from digits.overrides import compose
    from digits.prediction.predict import DigitReader, Prediction, load
    from digits.runs.run import Run
    from digits.sweeps.frames import find_runs, leaderboard
    from digits.training.train import train

__all__ = ["DigitReader", "Prediction", "Run", "compose", "find_runs", "leaderboard", "load", "train"]

_MODULES = {
    "DigitReader": "digits.prediction.predict",
    "Prediction": "digits.prediction.predict",
    "Run": "digits.runs.run",
    "compose": "digits.overrides",
    "find_runs": "digits.sweeps.frames",
    "leaderboard": "digits.sweeps.frames",
    "load": "digits.prediction.predict",
    "train": "digits.training.train",
}


def __getattr__(name: str) -> object:
    """Import a name on first use: every command imports this file, and has to start quickly."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_MODULES[name]), name)
