"""A fixture that the tests of predictions share."""

from pathlib import Path

import pytest

import digits
from digits import DigitReader


@pytest.fixture(scope="session")
def reader(sample_run: Path) -> DigitReader:
    """A reader with the network of `sample_run`."""
    return digits.load(sample_run)
