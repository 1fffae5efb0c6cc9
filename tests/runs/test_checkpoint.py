"""A checkpoint gives the trained network. Any other file is refused with a message."""

from pathlib import Path
from typing import Any

import pytest
import torch

from digits.errors import UserError
from digits.model.classifier import DigitClassifier
from digits.runs.checkpoint import Checkpoint


@pytest.fixture
def content(sample_run: Path) -> dict[str, Any]:
    """The content of a valid checkpoint, which a test may damage."""
    return Checkpoint(sample_run / "checkpoints/best.ckpt").content


def test_a_checkpoint_gives_the_network_of_the_classifier(sample_run: Path) -> None:
    path = sample_run / "checkpoints/best.ckpt"
    classifier = DigitClassifier.load_from_checkpoint(path, map_location="cpu", weights_only=True).eval()
    images = torch.randint(0, 256, (20, 28, 28), dtype=torch.uint8)
    network = Checkpoint(path).network()
    assert not network.training
    with torch.no_grad():
        assert torch.equal(network(images), classifier(images))
    assert sum(layer.parameters for layer in Checkpoint(path).layers()) == sum(p.numel() for p in network.parameters())


class Attack:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("attacked"),)


def test_a_checkpoint_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "hyper_parameters": Attack()}, tmp_path / "attack.ckpt")
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        Checkpoint(tmp_path / "attack.ckpt")
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.99])
def test_a_truncated_checkpoint_is_refused(sample_run: Path, tmp_path: Path, fraction: float) -> None:
    whole = (sample_run / "checkpoints/best.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: int(fraction * len(whole))])
    with pytest.raises(UserError, match="cut.ckpt cannot be read as a checkpoint") as error:
        Checkpoint(tmp_path / "cut.ckpt").network()
    assert "\n" not in str(error.value)


def test_missing_files_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no checkpoint"):
        Checkpoint(tmp_path / "none.ckpt")
    (tmp_path / "text.ckpt").write_text("weights")
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        Checkpoint(tmp_path / "text.ckpt")
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="not a checkpoint that a training of digits writes"):
        Checkpoint(tmp_path / "other.ckpt")


def damage(content: dict[str, Any], how: str) -> None:
    model = content["hyper_parameters"]["model"]
    if how == "no model":
        del content["hyper_parameters"]["model"]
    elif how == "unknown key":
        model["head"]["attention"] = 3
    elif how == "other sizes":
        model["blocks"][0]["channels"] = 9
    elif how == "a weight missing":
        del content["state_dict"]["network.head.classes.bias"]
    elif how == "sizes that no memory holds":
        model["head"]["hidden"] = [10**9, 10**9]
    elif how == "impossible":
        model["blocks"][0]["kernel_size"] = 99
        model["blocks"][0]["padding"] = 0


@pytest.mark.parametrize(
    "how", ["no model", "unknown key", "other sizes", "a weight missing", "sizes that no memory holds", "impossible"]
)
def test_a_checkpoint_of_another_network_is_refused(content: dict[str, Any], tmp_path: Path, how: str) -> None:
    damage(content, how)
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="not a checkpoint of this version's networks"):
        Checkpoint(tmp_path / "other.ckpt").network()


@pytest.mark.parametrize(
    "statistics",
    [7, {}, {"means": [1, 2]}, {"means": torch.zeros(10, 3), "whitening": torch.zeros(3, 3)}, "means"],
)
def test_damaged_statistics_prevent_only_rating(content: dict[str, Any], tmp_path: Path, statistics: object) -> None:
    content["familiarity"] = statistics
    torch.save(content, tmp_path / "damaged.ckpt")
    with pytest.raises(UserError, match="not a checkpoint of this version's networks"):
        Checkpoint(tmp_path / "damaged.ckpt").rated()
    Checkpoint(tmp_path / "damaged.ckpt").network()  # which does not need them
