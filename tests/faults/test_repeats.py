"""The same seed gives the same bits on the CPU: every augmentation, model, optimizer, average and experiment."""

from pathlib import Path

import pytest

from digits.overrides import config_directory
from digits.training.train import train

from ..helpers import composed, repeatable, same, weights

SHORT = [
    "data.batch_size=50",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=3",
    "report=false",
]
CHOICES = [
    f"{group}={path.stem}"
    for group in ("data/augment", "model", "optimizer", "scheduler", "averaging", "callbacks", "experiment")
    for path in sorted((config_directory() / group).glob("*.yaml"))
    if path.stem not in ("lr_sweep", "cnn_vs_mlp")  # sweeps over other choices
]


@pytest.mark.slow
@pytest.mark.alone  # with all threads, as a training outside the tests
@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.usefixtures("tiny_mnist")
def test_the_same_seed_gives_the_same_bits(choice: str, tmp_path: Path) -> None:
    val_size = min(40, composed(choice).data.val_size)  # 0 if the choice has no validation set
    for name in ("a", "b"):
        train(composed(choice, *SHORT, f"data.val_size={val_size}"), tmp_path / name)
    for checkpoint in ("best", "last"):
        assert same(weights(tmp_path / "a", checkpoint), weights(tmp_path / "b", checkpoint))
    assert repeatable(tmp_path / "a") == repeatable(tmp_path / "b")
    assert (tmp_path / "a/metrics.csv").read_bytes() == (tmp_path / "b/metrics.csv").read_bytes()
