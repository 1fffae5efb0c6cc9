"""The content of ``results.json``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from typing_extensions import TypedDict  # the one that pydantic accepts before Python 3.12

from digits.runs.files import Count, Fraction, NonNegative

METRICS = (
    "val_accuracy",
    "test_accuracy",
    "val_loss",
    "test_loss",
    "calibration_error",
    "train_accuracy",
    "parameters",
    "multiply_adds",
    "epochs",
    "train_seconds",
)
"""The results that comparisons of runs show."""

FINISHED, FAILED, PRUNED, UNFINISHED = "finished", "failed", "pruned", "unfinished"


class Dataset(TypedDict):
    """The data of a run."""

    name: Annotated[str, "mnist, mnist-sample-5k, fashion, kmnist, or the name of a folder"]
    train: Annotated[int, "training images"]
    val: Annotated[int, "validation images"]
    test: Annotated[int, "test images"]
    fingerprint: Annotated[str, "hash of every pixel and label of the three parts"]


@dataclass(frozen=True)
class Results:
    """The content of ``results.json`` of a finished run."""

    status: Annotated[str, "finished; anything else is not a result"]
    test_accuracy: Annotated[Fraction, "of the test set"]
    test_loss: Annotated[NonNegative, "mean cross-entropy over the test set, in nats"]
    val_accuracy: Annotated[Fraction | None, "of the validation set, with the same checkpoint; None without one"]
    val_loss: Annotated[NonNegative | None, "mean cross-entropy over the validation set; None without one"]
    dataset: Dataset
    epochs: Annotated[Count, "epochs trained"]
    best_epoch: Annotated[Count, "epoch, from 0, whose checkpoint was tested"]
    steps: Annotated[Count, "optimizer steps"]
    train_seconds: Annotated[NonNegative, "from the first batch to the last optimizer step, without validation"]
    wall_seconds: Annotated[NonNegative, "the whole process; for a resumed run, its last part"]
    parameters: Annotated[Count, "weights and biases"]
    seed: Count
    precision: Annotated[str, "Lightning's name of the number format"]
    accelerator: Annotated[str, "cpu, gpu, …"]
    calibration_error: Annotated[Fraction, "expected calibration error on the test set"]
    versions: Annotated[Mapping[str, str], "of Python and the packages"]
    hardware: Annotated[Mapping[str, Any], "the machine"]
    git: Annotated[Mapping[str, Any] | None, "commit and state of the checkout; None outside of one"]
    multiply_adds: Annotated[Count | None, "multiplications, each with an addition, for one image"] = None
    start_from: Annotated[
        Mapping[str, str] | None, "checkpoint and sha256 of the weights that the training started from"
    ] = None
    train_accuracy: Annotated[
        Fraction | None, "of the training images, without augmentation and dropout; None unless evaluate_train is true"
    ] = None

    @property
    def metric(self) -> float:
        """The metric that sweeps compare: validation accuracy, or test accuracy without a validation set."""
        return self.test_accuracy if self.val_accuracy is None else self.val_accuracy


@dataclass(frozen=True)
class Status:
    """The part of ``results.json`` that a failed run has too."""

    status: str = UNFINISHED
    error: str = ""
