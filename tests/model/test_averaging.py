"""The moving average of the weights: how it is computed, and that it is validated, saved and tested."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from omegaconf import DictConfig
from torch import Tensor

from digits.evaluation import evaluate as testing
from digits.model.averaging import EMA
from digits.runs.checkpoint import Checkpoint
from digits.runs.find import find
from digits.runs.run import Run
from digits.training.train import train

NETWORK = ["model.blocks=[{channels: 4, kernel_size: 3, normalisation: batch}]", "trainer.max_epochs=4"]


class Recorder(Callback):
    """Records the weights and statistics of the network after each training step and each validation batch.

    It is the first callback, so it sees a step before the average includes it.
    """

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []
        self.validated: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.steps.append(current_state(pl_module))

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.validated.append(current_state(pl_module))


def current_state(module: LightningModule) -> dict[str, Tensor]:
    return {name: value.double().clone() for name, value in module.network.state_dict().items()}  # type: ignore


def saved(path: Path) -> dict[str, Tensor]:
    return {name: value.double() for name, value in Checkpoint(path).network().state_dict().items()}


def close(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.allclose(value, other[name], atol=1e-5) for name, value in one.items())


@pytest.fixture
def trained(tiny: Callable[..., DictConfig], tmp_path: Path) -> Callable[..., Recorder]:
    def trained(*words: str) -> Recorder:
        recorder = Recorder()
        train(tiny(*NETWORK, "callbacks.checkpoint.monitor=val/loss", *words), tmp_path / "run", callbacks=[recorder])
        return recorder

    return trained


def test_the_moving_average_by_hand(trained: Callable[..., Recorder], tmp_path: Path) -> None:
    recorder = trained("averaging=ema", "averaging.decay=0.8")
    average = dict(recorder.steps[0])
    for number, step in enumerate(recorder.steps[1:], start=1):
        decay = min(0.8, (1 + number) / (10 + number))
        for name, value in step.items():
            average[name] = value if "batches" in name else decay * average[name] + (1 - decay) * value
    run = Run(tmp_path / "run")
    assert close(saved(run.last), average)
    assert not close(saved(run.last), recorder.steps[-1])


@pytest.mark.slow
def test_the_average_of_a_64_bit_training_has_64_bits(trained: Callable[..., Recorder], tmp_path: Path) -> None:
    recorder = trained("averaging=ema", "averaging.decay=0.8", "trainer.precision=64-true")
    found = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    average = {name: value for name, value in recorder.steps[0].items() if "batches" not in name}
    for number, step in enumerate(recorder.steps[1:], start=1):
        decay = min(0.8, (1 + number) / (10 + number))
        average = {name: decay * value + (1 - decay) * step[name] for name, value in average.items()}
    for name, value in average.items():
        assert found[f"network.{name}"].dtype == torch.float64
        assert torch.allclose(found[f"network.{name}"], value, rtol=0, atol=1e-12), name


def test_the_average_is_what_is_validated_and_saved(trained: Callable[..., Recorder], tmp_path: Path) -> None:
    recorder = trained("averaging=ema")
    run = Run(tmp_path / "run")
    results = run.results
    assert results
    assert close(saved(run.last), recorder.validated[7])  # the last one: two validation batches in each of four epochs
    row = run.read_metrics()[results.best_epoch]
    assert results.val_loss == pytest.approx(row["val/loss"], abs=1e-5)


@pytest.mark.slow
def test_without_validation_digits_the_average_of_the_last_epoch_is_tested(
    trained: Callable[..., Recorder], tmp_path: Path
) -> None:
    recorder = trained("averaging=ema", "data.val_size=0")
    run = Run(tmp_path / "run")
    assert close(saved(run.best), saved(run.last))
    assert not close(saved(run.best), recorder.steps[-1])
    tested = testing.evaluate(find(run.path))
    results = run.results
    assert results
    assert tested.test_accuracy == results.test_accuracy


def test_the_weight_of_new_parameters_falls_to_one_minus_decay() -> None:
    fractions = [EMA(0.99).weight(updates) for updates in (1, 10, 10_000)]
    assert fractions == pytest.approx([9 / 11, 9 / 20, 0.01])
