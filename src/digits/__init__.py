"""Reads handwritten digits with a convolutional network.

``load("latest").predict("photo.jpg").digit`` reads a picture with the newest trained network.
"""

TYPE_CHECKING = False  # not from typing: the less is imported before Ctrl-C is obeyed, the better
if TYPE_CHECKING:
    from digits.prediction.predict import DigitReader, Prediction, load

__all__ = ["DigitReader", "Prediction", "load"]


def __getattr__(name: str) -> object:
    """Import a name only when it is asked for: the commands begin with this file too."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from digits.prediction import predict as prediction

    return getattr(prediction, name)
