"""Testing a finished run repeats the results of its training exactly, wherever the data are now."""

import base64
import dataclasses
import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import digits
from digits.cli import app as cli
from digits.data import download as files
from digits.data import sample, sources
from digits.data.mnist import MNISTDataModule
from digits.errors import RunError, UserError
from digits.evaluation import evaluate as testing
from digits.evaluation import metrics as evaluation
from digits.evaluation.text import evaluation_text
from digits.runs.checkpoint import Checkpoint
from digits.runs.find import find
from digits.runs.run import Run
from digits.training.train import train

from ..helpers import Compose, call_main, paper, sample_digits


@pytest.fixture(scope="module")
def tested(sample_run: Path) -> evaluation.Evaluation:
    return testing.evaluate(find(sample_run))


def test_the_metrics_equal_those_of_the_training(sample_run: Path, tested: evaluation.Evaluation) -> None:
    results = Run(sample_run).results
    assert results is not None
    for name in ("test_accuracy", "test_loss", "calibration_error"):
        assert getattr(tested, name) == getattr(results, name)
    assert tested == evaluation.read(sample_run)  # which the training wrote


def test_the_fractions_of_untrusted_predictions(sample_run: Path, tested: evaluation.Evaluation) -> None:
    """Untrusted are those that `digits predict` calls unsure or unfamiliar."""
    test = testing.data_of(Checkpoint(sample_run / "checkpoints/best.ckpt")).test_set()
    found = digits.load(sample_run).predict_images(test.images.numpy())
    correct = np.array([each.digit == label for each, label in zip(found, test.labels.tolist(), strict=True)])
    doubted = np.array([each.status != "read" for each in found])
    assert tested.untrusted_correct == pytest.approx(doubted[correct].mean(), abs=1e-6)
    assert tested.untrusted_wrong == pytest.approx(doubted[~correct].mean(), abs=1e-6)
    line = next(line for line in evaluation_text(tested).splitlines() if line.startswith("Unsure or unfamiliar"))
    assert f"{100 * doubted[correct].mean():.1f} % of the correct" in line
    several = testing.evaluate(find(sample_run), find(sample_run))
    assert (several.untrusted_correct, several.untrusted_wrong) == (None, None)
    assert "unfamiliar" not in evaluation_text(several)


def test_under_slurm_a_checkpoint_in_the_working_directory_is_ignored(
    sample_run: Path, tested: evaluation.Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning would load the checkpoint that it saves at Slurm's signal."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hpc_ckpt_1.ckpt").write_bytes(b"another network")
    for name, value in {"NTASKS": "1", "JOB_ID": "7", "JOB_NAME": "digits", "PROCID": "0", "LOCALID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert testing.evaluate(find(sample_run)) == tested


def test_a_run_on_mnist_is_tested_with_the_same_results(tiny: Compose, tmp_path: Path) -> None:
    results = train(tiny(), tmp_path / "run")
    repeated = testing.evaluate(find(tmp_path / "run"))
    assert (repeated.test_accuracy, repeated.test_loss) == (results.test_accuracy, results.test_loss)
    assert repeated.dataset == "mnist"


def test_the_metrics_agree_with_each_other(tested: evaluation.Evaluation) -> None:
    matrix = np.array(tested.confusion_matrix)
    assert matrix.sum() == tested.images == 500
    assert np.trace(matrix) / 500 == pytest.approx(tested.test_accuracy, abs=1e-6)
    assert tested.mistakes == 500 - np.trace(matrix)
    for figures in tested.digits:
        right, digit = matrix[figures.digit, figures.digit], figures.digit
        assert figures.images == matrix[digit].sum()
        assert figures.recall == pytest.approx(right / matrix[digit].sum(), abs=1e-6)
        assert figures.precision == pytest.approx(right / matrix[:, digit].sum(), abs=1e-6)
        assert figures.f1 == pytest.approx(2 * right / (matrix[digit].sum() + matrix[:, digit].sum()), abs=1e-6)
    assert sum(part.images for part in tested.reliability) == 500
    gap = sum(part.images * abs(part.confidence - part.accuracy) for part in tested.reliability) / 500
    assert gap == pytest.approx(tested.calibration_error, abs=1e-5)


def test_the_worst_mistakes_come_first_and_have_their_images(tested: evaluation.Evaluation, sample_run: Path) -> None:
    images = testing.data_of(Checkpoint(sample_run / "checkpoints/best.ckpt")).test_set().images
    assert 0 < len(tested.worst) == min(25, tested.mistakes)
    assert [error.probability for error in tested.worst] == sorted(error.probability for error in tested.worst)
    for error in tested.worst:
        assert error.answer != error.digit
        assert error.confidence >= error.probability
        np.testing.assert_array_equal(evaluation.image_of(error.png), images[error.index])
    assert len(tested.examples) == 10


def test_a_perfect_network_has_no_errors() -> None:
    probabilities, labels = np.eye(10), np.arange(10)
    assert testing._mistakes(probabilities, labels, np.zeros((10, 28, 28), np.uint8)) == {"mistakes": 0, "worst": []}


def test_an_evaluation_is_read_back_and_refused_if_damaged(tested: evaluation.Evaluation, tmp_path: Path) -> None:
    assert evaluation.read(tmp_path) is None
    path = tested.write(tmp_path)
    assert evaluation.read(tmp_path) == tested
    content = json.loads(path.read_text())
    assert content["test_accuracy"] == tested.test_accuracy
    path.write_text(json.dumps({**content, "digits": 3}))
    with pytest.raises(UserError, match="digits evaluate writes it again"):
        evaluation.read(tmp_path)
    with pytest.raises(UserError, match="cannot be written: File exists"):
        tested.write(path)
    assert tested.write(tmp_path / "new").parent == tmp_path / "new"


@pytest.mark.slow
def test_a_run_that_fell_back_to_the_sample_is_tested_on_the_sample(
    tiny: Compose, tiny_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object) -> None:
        raise files.DownloadError("no mirror answers")

    with monkeypatch.context() as context:
        context.setattr(files, "obtain", offline)
        results = train(tiny("data.val_size=5000"), tmp_path / "run")
    assert results.dataset["name"] == "mnist-sample-5k"
    repeated = testing.evaluate(find(tmp_path / "run"))
    assert (repeated.dataset, repeated.test_accuracy) == ("mnist-sample-5k", results.test_accuracy)


def test_data_that_moved_are_found_through_mnist_root(
    tiny: Compose, tiny_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = train(tiny(), tmp_path / "run")
    tiny_mnist.rename(tmp_path / "moved")
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path / "moved"))
    assert testing.evaluate(find(tmp_path / "run")).test_accuracy == results.test_accuracy


def test_changed_data_are_refused(sample_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = sample.load()
    monkeypatch.setattr(sample, "load", lambda: (255 - images, labels))
    with pytest.raises(UserError, match="the data have changed since this run began"):
        testing.evaluate(find(sample_run))


def test_a_checkpoint_that_does_not_describe_its_data_is_refused(sample_run: Path, tmp_path: Path) -> None:
    content = torch.load(sample_run / "checkpoints/best.ckpt", weights_only=True)
    key = MNISTDataModule.CHECKPOINT_HYPER_PARAMS_KEY
    for bare in (
        {name: value for name, value in content.items() if name != key},
        {**content, key: {**content[key], "colour": "red"}},
        {**content, "MNISTDataModule": {"fingerprint": "0"}},
        {**content, "MNISTDataModule": {**content["MNISTDataModule"], "colour": "red"}},
        {**content, key: {**content[key], "batch_size": 0}},
        {**content, key: {**content[key], "batch_size": "many"}},
        {**content, key: {**content[key], "split_seed": -1}},
        {**content, key: {**content[key], "seed": "x"}},
        {**content, "MNISTDataModule": {**content["MNISTDataModule"], "val": "x"}},
    ):
        torch.save(bare, tmp_path / "bare.ckpt")
        with pytest.raises(UserError, match="does not say what it was trained on"):
            testing.evaluate(find(tmp_path / "bare.ckpt"))


@pytest.mark.parametrize(
    "change",
    [
        {"_instantiator": "os.system"},
        {"_class_path": "os.system"},
        {"model": {"blocks": [], "head": {"hidden": [1] * 300_000, "activation": "relu", "dropout": 0.0}}},
        {"model": {"blocks": [], "head": {"hidden": [10**21], "activation": "relu", "dropout": 0.0}}},
    ],
    ids=lambda change: str(change)[:40],
)
def test_a_manipulated_checkpoint_is_refused(change: dict[str, Any], sample_run: Path, tmp_path: Path) -> None:
    content = torch.load(sample_run / "checkpoints/best.ckpt", weights_only=True)
    torch.save({**content, "hyper_parameters": {**content["hyper_parameters"], **change}}, tmp_path / "made.ckpt")
    with pytest.raises(UserError, match=r"made\.ckpt (is not a checkpoint|names a function to call)"):
        testing.evaluate(find(tmp_path / "made.ckpt"))


def test_weights_with_fewer_values_than_their_shape_are_refused(sample_run: Path, tmp_path: Path) -> None:
    content = torch.load(sample_run / "checkpoints/best.ckpt", weights_only=True)
    name = "network.head.classes.weight"
    content["state_dict"][name] = torch.zeros(1).expand(content["state_dict"][name].shape)
    torch.save(content, tmp_path / "made.ckpt")
    with pytest.raises(UserError, match="claims more values than there are"):
        testing.evaluate(find(tmp_path / "made.ckpt"))


def test_weights_and_outputs_that_are_not_finite_are_refused(sample_run: Path, tmp_path: Path) -> None:
    content = torch.load(sample_run / "checkpoints/best.ckpt", weights_only=True)
    content["state_dict"]["network.head.classes.bias"][3] = np.nan
    torch.save(content, tmp_path / "nan.ckpt")
    with pytest.raises(UserError, match=r"head\.classes\.bias has values that are not finite"):
        testing.evaluate(find(tmp_path / "nan.ckpt"))
    content["state_dict"]["network.head.classes.bias"][3] = 0
    content["state_dict"]["network.head.classes.weight"].fill_(3e38)
    torch.save(content, tmp_path / "huge.ckpt")
    with pytest.raises(RunError, match="is not a finite number; it cannot be tested"):
        testing.evaluate(find(tmp_path / "huge.ckpt"))


def test_a_checkpoint_without_its_run_gives_the_same_evaluation(
    sample_run: Path, tested: evaluation.Evaluation, tmp_path: Path
) -> None:
    shutil.copy(sample_run / "checkpoints/best.ckpt", tmp_path / "mine.ckpt")
    assert testing.evaluate(find(tmp_path / "mine.ckpt")) == tested


def test_a_checkpoint_chooses_no_download_folder_and_no_mirror(
    tiny: Compose, tiny_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tiny("data.mirrors=[http://127.0.0.1:9/theirs]"), tmp_path / "run")
    shutil.rmtree(tiny_mnist)
    tiny_mnist.mkdir()
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path / "ours"))
    monkeypatch.setattr(sources.Source, "mirrors", lambda self: ["http://127.0.0.1:9/ours"])
    with pytest.raises(
        files.DownloadError, match=r"not in .*ours, and no mirror .*9/ours/.* or set MNIST_ROOT"
    ) as error:
        testing.evaluate(find(tmp_path / "run"))
    assert "theirs" not in str(error.value)
    assert not list(tiny_mnist.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        {"examples": []},
        {"examples": ["x"] * 10},
        {"confusion_matrix": [[1]]},
        {"test_accuracy": "high"},
        {"digits": [{}]},
        {"reliability": []},
    ],
    ids=str,
)
def test_a_manipulated_evaluation_is_refused(
    change: dict[str, Any], tested: evaluation.Evaluation, tmp_path: Path
) -> None:
    path = tested.write(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match="digits evaluate writes it again"):
        evaluation.read(tmp_path)


@pytest.mark.parametrize(("mode", "size"), [("RGB", (28, 28)), ("L", (3000, 3000))])
def test_images_of_another_size_or_mode_in_an_evaluation_are_refused(
    mode: str, size: tuple[int, int], tested: evaluation.Evaluation, tmp_path: Path
) -> None:
    file = io.BytesIO()
    Image.new(mode, size).save(file, "PNG")
    png = base64.b64encode(file.getvalue()).decode()
    dataclasses.replace(tested, examples=[png, *tested.examples[1:]]).write(tmp_path)
    with pytest.raises(UserError, match=f"{size[0]}×{size[1]} pixels in mode {mode} are not an image of a data set"):
        evaluation.read(tmp_path)


def test_the_checkpoint_is_read_once_and_the_data_are_verified_once(
    tiny: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even if the digits are tested both as they are and corrupted."""
    train(tiny(), tmp_path / "run")
    read: list[Path] = []
    hashed: list[int] = []
    load, sha256 = torch.load, hashlib.sha256

    def count_load(path: Path, **options: Any) -> Any:
        read.append(path)
        return load(path, **options)

    def count_sha256(content: bytes = b"") -> Any:
        hashed.append(len(content))
        return sha256(content)

    monkeypatch.setattr(torch, "load", count_load)
    monkeypatch.setattr(hashlib, "sha256", count_sha256)
    assert call_main(cli.main, ["digits", "evaluate", str(tmp_path / "run"), "--robust"]) == 0
    assert "rotated, degrees" in capsys.readouterr().out
    assert len(read) == 1
    assert len([size for size in hashed if size]) == 4  # the four files; the fingerprint's hash starts empty


def test_nothing_is_written_into_a_folder_that_a_checkpoint_names(tiny: Compose, tmp_path: Path) -> None:
    """Not even if it has damaged files of the right names: the files in MNIST_ROOT are used instead."""
    results = train(tiny(), tmp_path / "run")
    content = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)
    named = tmp_path / "named"
    named.mkdir()
    for name in sources.MNIST.files:
        (named / name).write_bytes(b"damaged")
    content["datamodule_hyper_parameters"]["root"] = str(named)
    torch.save(content, tmp_path / "made.ckpt")
    assert testing.evaluate(find(tmp_path / "made.ckpt")).test_accuracy == results.test_accuracy
    assert {path.name for path in named.rglob("*")} == set(sources.MNIST.files)


def test_a_run_is_tested_on_other_data_with_known_classes(sample_run: Path, tiny_mnist: Path, tmp_path: Path) -> None:
    """The run's own evaluation is kept. Classes are matched by name, whatever their order and number."""
    before = (sample_run / "evaluation.json").read_bytes()
    images, labels = sample_digits()
    for name in ("7", "3"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for number, index in enumerate(np.flatnonzero(labels == int(name))[:20]):
            paper(images[index]).save(tmp_path / f"mine/{name}/{number}.png")
    mine = testing.evaluate(find(sample_run), other=str(tmp_path / "mine"))
    assert (mine.dataset, mine.images) == ("mine", 40)
    assert mine.test_accuracy >= 0.8
    assert [sum(row) for row in mine.confusion_matrix] == [0, 0, 0, 20, 0, 0, 0, 20, 0, 0]
    assert [bool(png) for png in mine.examples] == [number in (3, 7) for number in range(10)]
    mine.write(tmp_path)
    assert evaluation.read(tmp_path) == mine
    assert evaluation_text(mine)
    official = testing.evaluate(find(sample_run), other="mnist")
    assert (official.dataset, official.images) == ("mnist", 50)
    assert (sample_run / "evaluation.json").read_bytes() == before
    with pytest.raises(UserError, match="--data gone is neither a folder of pictures nor one of mnist, fashion"):
        testing.evaluate(find(sample_run), other="gone")


def test_pictures_that_trained_the_network_are_refused(sample_run: Path, tmp_path: Path) -> None:
    """Also if one of the two paths is a link. A checkpoint may name a folder that does not exist here."""
    images, labels = sample_digits()
    for name in ("7", "3"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        paper(images[np.flatnonzero(labels == int(name))[0]]).save(tmp_path / f"mine/{name}/0.png")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    content = torch.load(Run(sample_run).best, weights_only=True)
    key = MNISTDataModule.CHECKPOINT_HYPER_PARAMS_KEY
    checkpoints = []
    for number, root in enumerate([str(tmp_path / "mine"), str(tmp_path / "link"), str(tmp_path / "gone"), "\0", 7]):
        torch.save({**content, key: {**content[key], "root": root}}, tmp_path / f"{number}.ckpt")
        checkpoints.append(Checkpoint(tmp_path / f"{number}.ckpt"))
    for folder in ("mine", "link"):
        for trained_on_it in checkpoints[:2]:
            with pytest.raises(UserError, match="the network was trained on these pictures; leave out --data"):
                testing.other_data(str(tmp_path / folder), [*checkpoints[2:], trained_on_it])
        assert len(testing.other_data(str(tmp_path / folder), checkpoints[2:]).digits) == 2
