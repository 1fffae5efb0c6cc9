"""Imports all slow modules and reads the sample, in the process from which `helpers.Forked` forks others."""

import captum.attr  # noqa: F401
import onnxruntime  # noqa: F401
import optuna  # noqa: F401

from digits.cli import app as cli  # noqa: F401
from digits.data import sample
from digits.evaluation import evaluate as testing  # noqa: F401
from digits.explanation import explain as explanation  # noqa: F401
from digits.explanation import report  # noqa: F401
from digits.prediction import predict as prediction  # noqa: F401
from digits.sweeps import search  # noqa: F401
from digits.sweeps import tables as comparison  # noqa: F401

sample.load()
