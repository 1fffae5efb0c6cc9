"""Testing a checkpoint on the test set of its training."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from lightning import Trainer
from torch import nn

from digits.console import quiet
from digits.data import MNISTDataModule
from digits.data import download as files
from digits.data.mnist import Description
from digits.errors import RunError, UserError
from digits.evaluation import robustness
from digits.evaluation.ensemble import IN_PLACE, SHIFTED, Ensemble
from digits.evaluation.metrics import DigitFigures, Evaluation, Mistake, ReliabilityBin, png_of
from digits.model.classifier import DigitClassifier
from digits.model.geometry import CLASSES
from digits.runs import checkpoint
from digits.runs.files import rounded
from digits.runs.find import Trained
from digits.training import hardware as device
from digits.validation import parse_data

BINS = 15  # of confidence, as the calibration error counts them
WORST = 25  # errors kept with their images


def evaluate(*trained: Trained, tta: bool = False) -> Evaluation:
    """Test a trained network anew, on the test set of its training; of several, the mean of their probabilities.

    The accuracy of one is the ``test_accuracy`` that the training wrote, on the same kind of device to the last digit.

    Args:
        trained: The networks.
        tta: Whether they look at shifted copies of each digit as well (test-time augmentation).

    Raises:
        UserError: If a checkpoint or the data are not those of a training, or the test sets are not the same.
        DownloadError: If MNIST is not to be had.
    """
    network = together(trained, tta)  # refuses what a stranger made up before it takes any memory
    with quiet():
        data = data_of_all(trained)
        classifier = classifier_of(trained[0].checkpoint)
        if isinstance(network, Ensemble):
            classifier.network = network
        evaluation, *_ = measure(classifier, data, validate=False)
    if isinstance(network, Ensemble):
        evaluation = replace(evaluation, checkpoints=[str(each.checkpoint) for each in trained], tta=tta)
    return evaluation


def evaluate_changed(*trained: Trained, tta: bool = False) -> dict[str, dict[float, float]]:
    """The accuracy on the digits of the test set after changes of several kinds, as `robustness.measure` has it."""
    network = together(trained, tta)
    test = data_of_all(trained).test_set()
    return robustness.measure(network, test.images.numpy(), test.labels.numpy())


def together(trained: Sequence[Trained], tta: bool) -> nn.Module:
    """The network of a checkpoint, or an `Ensemble`, on the CPU."""
    networks = [checkpoint.network(each.checkpoint) for each in trained]
    if len(networks) == 1 and not tta:
        return networks[0]
    return Ensemble(networks, SHIFTED if tta else IN_PLACE).eval()


def data_of_all(trained: Sequence[Trained]) -> MNISTDataModule:
    """The data of the first of several, which the others have to have been tested on too."""
    contents = [checkpoint.read(each.checkpoint) for each in trained]
    data = data_of(contents[0])
    for each, content in zip(trained, contents, strict=True):
        state = content.get("MNISTDataModule")
        name = state.get("name") if isinstance(state, dict) else None
        if name != data.description.name:
            raise UserError(f"{each.checkpoint} was tested on {name}, and the first one on {data.description.name}.")
    return data


def classifier_of(path: Path) -> DigitClassifier:
    """The classifier of a checkpoint.

    Raises:
        UserError: If it cannot be built.
    """
    try:
        return DigitClassifier.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    except Exception as error:  # Lightning's, of what a stranger made up
        raise checkpoint.of_no_network(path, error) from error


def measure(
    classifier: DigitClassifier,
    data: MNISTDataModule,
    accelerator: str = "auto",
    devices: Any = 1,
    validate: bool = True,
) -> tuple[Evaluation, dict[str, float], str]:
    """Test a classifier on one device, where every image counts once.

    Returns:
        The evaluation; ``val/accuracy`` and ``val/loss``, if there are validation digits and it was asked to;
        and the kind of device.
    """
    device.be_exact()
    data.setup()
    with tempfile.TemporaryDirectory() as nothing:  # elsewhere, under Slurm, Lightning would test what it finds there
        trainer = Trainer(
            default_root_dir=nothing,
            accelerator=accelerator,
            devices=devices[:1] if isinstance(devices, list) else 1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        validated = trainer.validate(classifier, data, verbose=False)[0] if validate and data.description.val else {}
        tested = trainer.test(classifier, data, verbose=False)[0]
    probabilities = classifier.test_logits.double().softmax(1).numpy()
    if not np.isfinite(probabilities).all():
        raise RunError("what the network computes is no number; it cannot be tested")
    images, labels = (part.cpu().numpy() for part in (data.test_set().images, data.test_set().labels))
    evaluation = Evaluation(
        dataset=data.description.name,
        images=len(labels),
        test_accuracy=rounded(tested["test/accuracy"]),
        test_loss=rounded(tested["test/loss"]),
        calibration_error=rounded(tested["test/calibration_error"]),
        digits=_digit_figures(classifier.test_details, labels),
        confusion_matrix=classifier.test_details["test/confusion_matrix"],
        reliability=_reliability(probabilities, labels),
        examples=[png_of(images[np.flatnonzero(labels == digit)[0]]) for digit in range(CLASSES)],
        **_mistakes(probabilities, labels, images),
    )
    kind = trainer.strategy.root_device.type
    return evaluation, {name: rounded(value) for name, value in validated.items()}, "gpu" if kind == "cuda" else kind


def data_of(content: Mapping[str, Any]) -> MNISTDataModule:
    """The data that a checkpoint was trained on: where they were then, or where they are looked for and fetched now."""
    try:
        arguments, state = dict(content[MNISTDataModule.CHECKPOINT_HYPER_PARAMS_KEY]), content["MNISTDataModule"]
        if state["name"] != "mnist":  # the sample had stood in
            arguments.update(name="sample", val_size=state["val"])
        if state["name"] == "mnist" and files.find(Path(arguments["root"])).missing:
            arguments["root"] = os.environ.get("MNIST_ROOT", "data")  # no file names a folder to fetch into
        seed = arguments.pop("seed")
        checked = parse_data({**arguments, "mirrors": None, "offline_fallback": False})
        data = MNISTDataModule(**asdict(checked), seed=int(seed))
        Description(**state)
    except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
        raise UserError(f"the checkpoint does not say what it was trained on: {error}") from error
    try:
        data.setup()
    except files.DownloadError as error:
        raise files.DownloadError(
            f"MNIST, on which it is tested, is not in {data.root}, and {error.__cause__}. "
            "Put its four files there, or set MNIST_ROOT to where they are"
        ) from error
    data.load_state_dict(state)  # refuses other data
    return data


def _digit_figures(details: Mapping[str, Any], labels: npt.NDArray[np.int64]) -> list[DigitFigures]:
    figures = zip(*(details[f"test/{name}"] for name in ("precision", "recall", "f1")), strict=True)
    counts = np.bincount(labels, minlength=CLASSES).tolist()
    return [DigitFigures(digit, counts[digit], *map(rounded, values)) for digit, values in enumerate(figures)]


def _reliability(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> list[ReliabilityBin]:
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    numbers = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        ReliabilityBin(
            round(number / BINS, 7),
            int(chosen.sum()),
            rounded(confidence[chosen].mean()),
            rounded(right[chosen].mean()),
        )
        for number in range(BINS)
        if (chosen := numbers == number).any()
    ]


def _mistakes(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], images: npt.NDArray[np.uint8]
) -> dict[str, Any]:
    answers = probabilities.argmax(1)
    of_label = probabilities[np.arange(len(labels)), labels]
    wrong = np.flatnonzero(answers != labels)
    worst = wrong[np.argsort(of_label[wrong], kind="stable")][:WORST]
    mistakes = [
        Mistake(
            index=int(index),
            digit=int(labels[index]),
            answer=int(answers[index]),
            confidence=rounded(probabilities[index, answers[index]]),
            probability=rounded(of_label[index]),
            png=png_of(images[index]),
        )
        for index in worst
    ]
    return {"mistakes": len(wrong), "worst": mistakes}
