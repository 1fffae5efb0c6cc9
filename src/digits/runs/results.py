"""The content of ``results.json``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Len
from typing_extensions import TypedDict  # the one that pydantic accepts before Python 3.12

from digits.model.geometry import CLASSES
from digits.runs.files import Count, Fraction, NonNegative

FINISHED, FAILED, PRUNED, UNFINISHED = "finished", "failed", "pruned", "unfinished"


class Dataset(TypedDict):
    """The data of a run."""

    name: str
    train: int
    val: int
    test: int
    fingerprint: str


@dataclass(frozen=True)
class Results:
    """The content of ``results.json`` of a finished run.

    Attributes:
        status: ``finished``; anything else is not a result.
        test_accuracy: Fraction of the test set, 0 to 1.
        test_loss: Mean cross-entropy over the test set, in nats.
        val_accuracy: The same on the validation set, with the same checkpoint; None without one.
        val_loss: The same on the validation set; None without one.
        dataset: ``name``, ``train``, ``val``, ``test`` sizes, ``fingerprint``.
        epochs: Epochs trained.
        best_epoch: Epoch, from 0, whose checkpoint was tested.
        steps: Optimizer steps.
        train_seconds: From the first batch to the last optimizer step, without validation.
        wall_seconds: The whole process; for a resumed run, its last part.
        parameters: Number of weights and biases.
        seed: Seed.
        precision: Lightning's name of the number format.
        accelerator: ``cpu``, ``gpu``, …
        recall: For each digit, 0 to 9, on the test set.
        calibration_error: Expected calibration error on the test set, 0 to 1.
        confusion_matrix: Test images by digit (row) and answer (column).
        versions: Versions of Python and the packages.
        hardware: The machine.
        git: Commit and state of the checkout; None outside one.
        multiply_adds: Multiplications, each with an addition, for one image.
        train_accuracy: Fraction of the training images, without augmentation and dropout; None
            unless ``evaluate_train`` is true.
    """

    status: str
    test_accuracy: Fraction
    test_loss: NonNegative
    val_accuracy: Fraction | None
    val_loss: NonNegative | None
    dataset: Dataset
    epochs: Count
    best_epoch: Count
    steps: Count
    train_seconds: NonNegative
    wall_seconds: NonNegative
    parameters: Count
    seed: Count
    precision: str
    accelerator: str
    recall: Annotated[Sequence[Fraction], Len(CLASSES, CLASSES)]
    calibration_error: Fraction
    confusion_matrix: Annotated[Sequence[Annotated[Sequence[Count], Len(CLASSES, CLASSES)]], Len(CLASSES, CLASSES)]
    versions: Mapping[str, str]
    hardware: Mapping[str, Any]
    git: Mapping[str, Any] | None
    multiply_adds: Count | None = None
    train_accuracy: Fraction | None = None

    @property
    def metric(self) -> float:
        """The metric that sweeps compare: validation accuracy, or test accuracy without a validation set."""
        return self.test_accuracy if self.val_accuracy is None else self.val_accuracy


@dataclass(frozen=True)
class Status:
    """The part of ``results.json`` that a failed run has too."""

    status: str = UNFINISHED
    error: str = ""
