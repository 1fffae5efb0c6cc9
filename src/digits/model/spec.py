"""What a network knows about its data, and when its predictions are not trusted; part of its checkpoint."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DIGITS = tuple("0123456789")
PREPARATIONS = ("photo", "resize")
READ, UNSURE, UNFAMILIAR = "read", "unsure", "unfamiliar"
MAX_CLASSES = 256  # a label is a byte


@dataclass(frozen=True)
class DataSpec:
    """The classes and the pixels of a data set. The default is MNIST.

    Attributes:
        classes: Name of each class, in the order of the network's outputs.
        mean: Mean of the training pixels, scaled to 0 to 1; MNIST's is the value used since LeNet.
        std: Their standard deviation.
        prepare: How a picture becomes an image: ``photo``, a digit found on paper, or ``resize``, the whole picture.
    """

    classes: tuple[str, ...] = DIGITS
    mean: float = 0.1307
    std: float = 0.3081
    prepare: str = "photo"

    @property
    def are_digits(self) -> bool:
        """Whether the classes are the ten digits."""
        return self.classes == DIGITS


@dataclass(frozen=True)
class Thresholds:
    """When a prediction is not trusted, and how certain it then is.

    Attributes:
        probability: Least probability of the likeliest class, 0 to 1; below it, the prediction is unsure.
        familiarity: Least familiarity; below it, the image is unlike those that the network has learned.
        temperature: Divisor of the logits of such an image, at least 1; a larger one makes it less certain.
    """

    probability: float = 0.5
    familiarity: float = -math.inf
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError if a value is not possible."""
        if not 0 <= self.probability <= 1 or math.isnan(self.familiarity):
            raise ValueError(f"thresholds of {self.probability} and {self.familiarity}")
        if not 1 <= self.temperature < math.inf:
            raise ValueError(f"a temperature of {self.temperature}")

    def status(self, probability: float, familiarity: float) -> str:
        """``read``, ``unsure`` or ``unfamiliar``."""
        if familiarity < self.familiarity:
            return UNFAMILIAR
        return UNSURE if probability < self.probability else READ


def with_article(name: str) -> str:
    """The name of a class in a sentence: ``a 7``, ``an ankle boot``."""
    return f"{'an' if re.match('[aeiou8]|1[18]$', name, re.IGNORECASE) else 'a'} {name}"


def parse_spec(values: Mapping[str, Any] | None) -> DataSpec:
    """Build the spec that a checkpoint describes; None means the spec of MNIST.

    Raises:
        ValueError: If a value is not possible.
        TypeError: If a value has another type or an unknown name.
        KeyError: If the classes are missing.
    """
    if values is None:
        return DataSpec()
    spec = DataSpec(**{**values, "classes": tuple(values["classes"])})
    named = all(isinstance(name, str) and name and name.isprintable() for name in spec.classes)
    different = len(set(spec.classes)) == len(spec.classes) and not isinstance(values["classes"], str)
    if not (named and different and 2 <= len(spec.classes) <= MAX_CLASSES):
        raise ValueError(f"the classes have to be 2 to {MAX_CLASSES:,} different names")
    if not (math.isfinite(spec.mean) and math.isfinite(spec.std) and spec.std > 0):
        raise ValueError(f"mean {spec.mean} and standard deviation {spec.std} of the pixels")
    if spec.prepare not in PREPARATIONS:
        raise ValueError(f"pictures cannot be prepared by {spec.prepare!r}")
    return spec
