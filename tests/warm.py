"""Imports all that is slow to import, and reads the sample; `helpers.run` forks processes from one that has done so."""

import onnxruntime  # noqa: F401
import optuna  # noqa: F401

from digits import cli, comparison, explanation, prediction, report, search, testing  # noqa: F401
from digits.data import sample

sample.load()
