"""Tests a trained network: on the test set of its training, or on other data."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from digits.config import SAMPLE, DataConfig
from digits.console import lightning_silenced
from digits.data import download, folder
from digits.data.batches import Digits, HeldOut
from digits.data.mnist import MNISTDataModule
from digits.data.sources import SOURCES, default_root
from digits.errors import RunError, UserError
from digits.evaluation.ensemble import IN_PLACE, SHIFTED, Ensemble
from digits.evaluation.metrics import DigitMetrics, Evaluation, Mistake, ReliabilityBin, png_of
from digits.model.familiarity import RatedNetwork
from digits.model.inference import CPU, best_device, logits, ratings
from digits.model.spec import Thresholds
from digits.runs.checkpoint import Checkpoint
from digits.runs.files import rounded
from digits.runs.find import Trained
from digits.runs.results import Dataset
from digits.validation import parse_data

log = logging.getLogger(__name__)

BINS = 15  # of confidence, as in the calibration error
WORST_MISTAKES = 25  # kept with their images


def evaluate(*trained: Trained, tta: bool = False, other: str | None = None) -> Evaluation:
    """Test a trained network again, on the test set of its training. For several, average the probabilities.

    The accuracy of one network is the ``test_accuracy`` that the training wrote, on the same kind of device.

    Args:
        trained: The networks.
        tta: Whether to average over shifted copies of each digit as well (test-time augmentation).
        other: Another data set with the same classes, or a folder of pictures; None for that of the training.

    Raises:
        UserError: If a file is not a checkpoint, its data cannot be found, or the test sets differ.
        DownloadError: If MNIST cannot be downloaded.
    """
    return measure(*open_test(trained, tta, other), best_device())


def open_test(trained: Sequence[Trained], tta: bool = False, other: str | None = None) -> tuple[nn.Module, HeldOut]:
    """Read the checkpoints of networks, and the data that they were tested on, each once.

    Args:
        trained: The networks.
        tta: Whether to average over shifted copies.
        other: Another data set, or a folder of pictures; None for that of the training.

    Returns:
        The network, or an `Ensemble`, on the CPU; and the test set.

    Raises:
        UserError: If a file is not a checkpoint, its data cannot be found, or the test sets differ.
        DownloadError: If MNIST cannot be downloaded.
    """
    checkpoints = [Checkpoint(each.checkpoint) for each in trained]
    networks = [checkpoint.rated() for checkpoint in checkpoints]  # refuses a damaged checkpoint before data is read
    names = [str(checkpoint.path) for checkpoint in checkpoints]
    ensemble = Ensemble(networks, SHIFTED if tta else IN_PLACE, names).eval()
    network = networks[0] if len(networks) == 1 and not tta else ensemble
    for checkpoint in checkpoints[1:]:
        if checkpoint.data.classes != checkpoints[0].data.classes:
            raise UserError(f"{checkpoint.path} has other classes than the first one.")
    if other is not None:
        return network, other_data(other, checkpoints)
    with lightning_silenced():
        data = data_of(checkpoints[0])
    for checkpoint in checkpoints:
        state = checkpoint.content.get("MNISTDataModule")
        name = state.get("name") if isinstance(state, dict) else None
        if name != data.description["name"]:
            raise UserError(f"{checkpoint.path} was tested on {name}, and the first one on {data.description['name']}.")
        if data.cfg.name == "folder" and state and state["fingerprint"] != data.description["fingerprint"]:
            raise UserError(f"{checkpoint.path} was tested on other pictures of {name} than the first one.")
    return network, data.held_out()


def other_data(word: str, checkpoints: Sequence[Checkpoint]) -> HeldOut:
    """The test set of another data set, or all pictures of a folder without a folder ``test``.

    Args:
        word: A value of ``data=``, or a folder of pictures, with a folder for each class.
        checkpoints: The checkpoints of the networks, which all have the same classes.

    Raises:
        UserError: If the data set does not exist, has a class that the networks do not know, or trained one of them.
        DownloadError: If its files cannot be downloaded.
    """
    spec = checkpoints[0].data
    trained_on = [
        checkpoint.content.get(MNISTDataModule.CHECKPOINT_HYPER_PARAMS_KEY) or {} for checkpoint in checkpoints
    ]
    if Path(word).is_dir():
        pictures = folder.read(Path(word), spec.prepare)
        if not pictures.test.any() and any(_is_same(Path(word), each.get("root")) for each in trained_on):
            raise UserError(f"--data {word}: the network was trained on these pictures; leave out --data.")
        members = np.flatnonzero(pictures.test) if pictures.test.any() else np.arange(len(pictures.labels))
        images, labels = torch.from_numpy(pictures.images), torch.from_numpy(pictures.labels).long()
        found = HeldOut(Path(word).resolve().name, pictures.classes, Digits(images, labels, torch.from_numpy(members)))
    elif word in (*SOURCES, "sample"):
        with lightning_silenced():
            data = MNISTDataModule(DataConfig(word, default_root(word), val_size=0, offline_fallback=False))
            data.setup()
        found = data.held_out()
        if word == "sample" and any(each.get("name") == "mnist" for each in trained_on):
            log.warning("The sample consists of training digits of MNIST: the network has seen them.")
    else:
        raise UserError(f"--data {word} is neither a folder of pictures nor one of {', '.join(SOURCES)}, sample.")
    if unknown := [name for name in found.classes if name not in spec.classes]:
        raise UserError(f"--data {word} has the class {unknown[0]}, which the network does not know.")
    indices = torch.tensor([spec.classes.index(name) for name in found.classes])
    images, labels = found.digits[torch.arange(len(found.digits))]
    return HeldOut(found.name, spec.classes, Digits(images, indices[labels], torch.arange(len(labels))))


def score(network: nn.Module, part: Digits, device: torch.device = CPU) -> tuple[float, float]:
    """Accuracy, 0 to 1, and mean cross-entropy, in nats, on a part of the data."""
    images, labels = part[torch.arange(len(part), device=part.members.device)]
    outputs, labels = logits(network, images, device), labels.cpu()
    accuracy = (outputs.argmax(1) == labels).double().mean()
    return rounded(accuracy), rounded(cross_entropy(outputs.double(), labels))


def measure(network: nn.Module, data: HeldOut, device: torch.device = CPU) -> Evaluation:
    """Test a network on the test set.

    Raises:
        RunError: If an output is not finite.
    """
    test = data.digits
    targets = test.labels.cpu()
    if isinstance(network, RatedNetwork):
        outputs, familiarity = ratings(network, test.images, device)
        untrusted = _untrusted(network.thresholds, outputs, familiarity, targets)
    else:
        outputs, untrusted = logits(network, test.images, device), dict[str, Any]()
    probabilities = outputs.double().softmax(1).numpy()
    if not np.isfinite(probabilities).all():
        raise RunError("an output of the network is not a finite number; it cannot be tested")
    images, labels = test.images.cpu().numpy(), targets.numpy()
    number = len(data.classes)
    return Evaluation(
        dataset=data.name,
        images=len(labels),
        test_accuracy=rounded(multiclass_accuracy(outputs, targets, number, average="micro")),
        test_loss=rounded(cross_entropy(outputs.double(), targets)),
        calibration_error=rounded(multiclass_calibration_error(outputs, targets, number, n_bins=BINS)),
        digits=_digit_metrics(outputs, targets, number),
        confusion_matrix=multiclass_confusion_matrix(outputs, targets, number).tolist(),
        reliability=_reliability(probabilities, labels),
        examples=[png_of(images[np.argmax(labels == label)]) if label in labels else "" for label in range(number)],
        classes=list(data.classes),
        **_mistakes(probabilities, labels, images),
        **untrusted,
        checkpoints=network.names if isinstance(network, Ensemble) else [],
        tta=isinstance(network, Ensemble) and network.shifts == SHIFTED,
        labels=labels.tolist(),
        predictions=outputs.argmax(1).tolist(),
    )


def data_of(checkpoint: Checkpoint) -> MNISTDataModule:
    """Load the data that a checkpoint was trained on: from its old folder, or else from the default one or a mirror.

    Raises:
        UserError: If the checkpoint does not say, or the data has changed.
        DownloadError: If MNIST cannot be downloaded.
    """
    try:
        arguments = dict(checkpoint.content[MNISTDataModule.CHECKPOINT_HYPER_PARAMS_KEY])
        state = checkpoint.content["MNISTDataModule"]
        if state["name"] == SAMPLE:  # the offline fallback may have replaced MNIST
            arguments.update(name="sample", val_size=state["val"])
        seed = int(arguments.pop("seed"))

        def build(**changes: Any) -> MNISTDataModule:
            return MNISTDataModule(parse_data({**arguments, "offline_fallback": False, **changes}), seed)

        data = build(mirrors=[])  # only read: the checkpoint chose this folder, not the user
        elsewhere = None if data.cfg.name == "folder" else build(mirrors=None, root=default_root(data.cfg.name))
        if state.keys() != Dataset.__required_keys__:
            raise ValueError(f"its data set has {', '.join(state)}")
    except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
        raise UserError(f"the checkpoint does not say what it was trained on: {error}") from error
    try:
        try:
            data.setup()
        except (download.DownloadError, UserError):
            if elsewhere is None:
                raise
            data = elsewhere
            data.setup()
    except download.DownloadError as error:
        raise download.DownloadError(
            f"{SOURCES[data.cfg.name].title}, on which it is tested, is not in {data.cfg.root}, and {error.__cause__}. "
            f"Put its four files there{', or set MNIST_ROOT to where they are' if data.cfg.name == 'mnist' else ''}"
        ) from error
    data.load_state_dict(state)  # refuses other data
    return data


def _is_same(directory: Path, root: object) -> bool:
    """Whether the ``data.root`` in a checkpoint is this directory, perhaps by another path."""
    try:
        return isinstance(root, str) and directory.samefile(root)
    except (OSError, ValueError):  # it does not exist here, or is not a path
        return False


def _untrusted(thresholds: Thresholds, outputs: Tensor, familiarity: Tensor, targets: Tensor) -> Mapping[str, Any]:
    """Fractions of the correct and of the wrong predictions that are not trusted; None for an empty group."""
    doubted = (outputs.softmax(1).amax(1) < thresholds.probability) | (familiarity < thresholds.familiarity)
    correct = outputs.argmax(1) == targets
    parts = {"untrusted_correct": doubted[correct], "untrusted_wrong": doubted[~correct]}
    return {name: rounded(part.double().mean()) if len(part) else None for name, part in parts.items()}


def _digit_metrics(outputs: Tensor, targets: Tensor, classes: int) -> list[DigitMetrics]:
    columns = [
        metric(outputs, targets, classes, average="none").tolist()
        for metric in (multiclass_precision, multiclass_recall, multiclass_f1_score)
    ]
    counts = torch.bincount(targets, minlength=classes).tolist()
    rows = zip(counts, *columns, strict=True)
    return [DigitMetrics(digit, count, *map(rounded, values)) for digit, (count, *values) in enumerate(rows)]


def _reliability(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> list[ReliabilityBin]:
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == labels
    numbers = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        ReliabilityBin(
            round(number / BINS, 7),
            int(chosen.sum()),
            rounded(confidence[chosen].mean()),
            rounded(correct[chosen].mean()),
        )
        for number in range(BINS)
        if (chosen := numbers == number).any()
    ]


def _mistakes(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], images: npt.NDArray[np.uint8]
) -> Mapping[str, Any]:
    predicted = probabilities.argmax(1)
    of_label = probabilities[np.arange(len(labels)), labels]
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(of_label[wrong], kind="stable")][:WORST_MISTAKES]
    mistakes = [
        Mistake(
            index=int(index),
            digit=int(labels[index]),
            answer=int(predicted[index]),
            confidence=rounded(probabilities[index, predicted[index]]),
            probability=rounded(of_label[index]),
            png=png_of(images[index]),
        )
        for index in worst
    ]
    return {"mistakes": len(wrong), "worst": mistakes}
