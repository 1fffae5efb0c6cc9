"""What the benchmarks share: where MNIST is, figures with their spread, and what they were measured on."""

import os
import statistics
from collections.abc import Sequence
from pathlib import Path

import lightning
import torch

from digits.data import files
from digits.data.files import Found
from digits.provenance import hardware


def official() -> Found:
    """The official files under MNIST_ROOT or data/."""
    return files.obtain(Path(os.environ.get("MNIST_ROOT", "data")))


def spread(values: Sequence[float], unit: str = "s") -> str:
    """Median and range: ``1.20 s (1.10 to 1.40, n = 5)``."""
    return f"{statistics.median(values):.3g} {unit} ({min(values):.3g} to {max(values):.3g}, n = {len(values)})"


def machine() -> str:
    """Processor, cores and versions in a line."""
    found = hardware()
    return f"{found['processor']}, {found['cores']} cores; torch {torch.__version__}, lightning {lightning.__version__}"
