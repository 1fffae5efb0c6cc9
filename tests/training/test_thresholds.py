"""Thresholds below which predictions are not trusted: derived once from held-out digits, for the best checkpoint."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import digits
from digits.config import DataConfig
from digits.data.batches import Digits
from digits.data.mnist import MNISTDataModule
from digits.errors import RunError
from digits.evaluation import metrics
from digits.model.familiarity import RatedNetwork
from digits.runs.checkpoint import STATISTICS, Checkpoint
from digits.runs.run import Run
from digits.training import thresholds
from digits.training.train import train

from ..helpers import Compose, composed

CPU = torch.device("cpu")


def flagged(rated: RatedNetwork, images: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """The fractions of the correct predictions that are called unsure, and unfamiliar."""
    with torch.inference_mode():
        logits, familiarity = rated.rate(images)
    correct = logits.argmax(1) == labels
    unsure = logits.softmax(1).amax(1) < rated.thresholds.probability
    unfamiliar = familiarity < rated.thresholds.familiarity
    return unsure[correct].double().mean().item(), unfamiliar[correct].double().mean().item()


def data_of_sample(val_size: int) -> MNISTDataModule:
    data = MNISTDataModule(DataConfig("sample", val_size=val_size))
    data.setup()
    return data


@pytest.mark.parametrize("val_size", [1_000, 0])
def test_the_thresholds_flag_the_intended_fractions(val_size: int, sample_run: Path) -> None:
    """Fractions of the correct predictions: of validation digits, or else of training digits outside the estimate."""
    network = Checkpoint(sample_run / "checkpoints/best.ckpt").network()
    data = data_of_sample(val_size)
    rated = thresholds.derive(network, data, CPU)
    if val_size:
        images, labels = data.validation_set()[torch.arange(val_size)]
    else:
        part = data.training_set()
        part = Digits(part.images, part.labels, torch.unique(part.members))
        order = torch.randperm(len(part), generator=torch.Generator().manual_seed(0))
        images, labels = part[order[len(part) // 2 :]]
    unsure, unfamiliar = flagged(rated, images, labels)
    assert unsure == pytest.approx(thresholds.UNSURE_FRACTION, abs=1.1 / len(labels))
    assert unfamiliar == pytest.approx(thresholds.UNFAMILIAR_FRACTION, abs=1.1 / len(labels))


def test_drawings_of_something_else_are_unfamiliar(sample_run: Path) -> None:
    """Most of 40 drawings of random lines are unfamiliar, and few digits are."""
    generator = np.random.default_rng(0)
    drawings = []
    for number in range(40):
        picture = Image.new("L", (28, 28))
        draw = ImageDraw.Draw(picture)
        for _ in range(4 + number % 4):
            draw.line([tuple(map(float, point)) for point in generator.uniform(3, 25, (2, 2))], 255, 2)
        drawings.append(np.asarray(picture))
    reader = digits.load(sample_run)
    strange = [prediction.status for prediction in reader.predict_images(np.stack(drawings))]
    assert strange.count("unfamiliar") > 20
    images, _ = data_of_sample(0).test_set()[torch.arange(500)]
    usual = [prediction.status for prediction in reader.predict_images(images.numpy())]
    assert usual.count("read") > 470


def test_the_temperature_calibrates_unfamiliar_images(sample_run: Path) -> None:
    """On other distorted digits than those that the temperature is derived from."""
    rated = Checkpoint(sample_run / "checkpoints/best.ckpt").rated()
    images, labels = data_of_sample(0).test_set()[torch.arange(500)]
    with torch.inference_mode():
        logits, familiarity = rated.rate(thresholds.distorted(images, torch.Generator().manual_seed(1)))
    unfamiliar = familiarity < rated.thresholds.familiarity
    right = (logits.argmax(1) == labels.repeat(len(thresholds.STRENGTHS)))[unfamiliar].double().mean().item()
    certain, lowered = (
        (logits / temperature).softmax(1)[unfamiliar].amax(1).double().mean().item()
        for temperature in (1, rated.thresholds.temperature)
    )
    assert unfamiliar.sum() > 500
    assert certain > right + 0.2
    assert lowered == pytest.approx(right, abs=0.1)


def test_all_classes_of_a_sorted_folder_are_distorted(sample_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Checkpoint(sample_run / "checkpoints/best.ckpt").network()
    data = data_of_sample(1_000)
    val = data.validation_set()
    by_class = val.members[val.labels[val.members].argsort()]
    monkeypatch.setattr(data, "validation_set", lambda: Digits(val.images, val.labels, by_class))
    seen: list[torch.Tensor] = []
    distort = thresholds.distorted
    monkeypatch.setattr(thresholds, "distorted", lambda images, rng: seen.append(images) or distort(images, rng))
    thresholds.derive(network, data, CPU)
    (images,) = seen
    found = {image.numpy().tobytes() for image in images}
    labels = [label.item() for image, label in zip(*val[torch.arange(1_000)], strict=True)
              if image.numpy().tobytes() in found]  # fmt: skip
    assert len(images) == thresholds.DISTORTED_IMAGES
    assert set(labels) == set(range(10))


def test_the_thresholds_are_derived_once_and_evaluated(
    tiny: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tiny("trainer.max_epochs=1"), tmp_path / "run")
    run = Run(tmp_path / "run")
    assert STATISTICS in Checkpoint(run.best).content
    assert STATISTICS not in Checkpoint(run.last).content  # only used to resume
    evaluation = metrics.read(run.path)
    assert evaluation is not None
    assert evaluation.untrusted_correct is not None
    before = run.best.read_bytes()
    run.results_file.unlink()  # as if the training had been killed before it wrote them
    monkeypatch.setattr(thresholds, "derive", None)
    train(tiny("trainer.max_epochs=1"), tmp_path / "run")
    assert run.best.read_bytes() == before


def test_the_rest_of_a_checkpoint_is_unchanged(tiny: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    add: Callable[..., None] = thresholds.add

    def added(best: Checkpoint, run: Run, *others: object) -> None:
        written.append(run.best.read_bytes())
        add(best, run, *others)

    monkeypatch.setattr(thresholds, "add", added)
    train(tiny("trainer.max_epochs=1"), tmp_path / "run")
    before = torch.load(io.BytesIO(written[0]), weights_only=True)
    after = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)
    assert before.keys() | {STATISTICS} == after.keys()
    torch.testing.assert_close(before["state_dict"], after["state_dict"], rtol=0, atol=0)
    assert before["hyper_parameters"] == after["hyper_parameters"]


def test_a_small_data_set_without_validation_images_gets_thresholds(tiny_mnist: Path, tmp_path: Path) -> None:
    results = train(composed("data.val_size=0", "data.batch_size=60", "trainer.max_epochs=1"), tmp_path / "run")
    assert results.status == "finished"
    rated = Checkpoint(tmp_path / "run/checkpoints/best.ckpt").rated()
    assert 0 < rated.thresholds.probability <= 1


def test_repeated_pictures_are_in_only_one_of_the_two_parts(sample_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate and the thresholds use different pictures, even if an epoch repeats them."""
    network = Checkpoint(sample_run / "checkpoints/best.ckpt").network()
    data = data_of_sample(0)
    few = data.training_set()
    repeated = Digits(few.images, few.labels, few.members[:60].repeat(35))
    monkeypatch.setattr(data, "training_set", lambda: repeated)
    seen: list[torch.Tensor] = []
    observe = thresholds.observations

    def observed(network: object, images: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(images)
        return observe(network, images, device)  # type: ignore[arg-type]

    monkeypatch.setattr(thresholds, "observations", observed)
    thresholds.derive(network, data, CPU)
    one, other = ({image.numpy().tobytes() for image in images} for images in seen)
    assert (len(one), len(other)) == (30, 30)
    assert not one & other


def test_a_network_with_infinite_outputs_ends_in_a_clear_error(sample_run: Path) -> None:
    network = Checkpoint(sample_run / "checkpoints/best.ckpt").network()
    network.blocks[0].get_parameter("conv.weight").data *= 1e38
    with pytest.raises(RunError, match="not a finite number"):
        thresholds.derive(network, data_of_sample(0), CPU)
