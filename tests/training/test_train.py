"""Whole trainings on tiny files: what they write, that they repeat exactly, and that they resume where they stopped."""

import csv
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback, Trainer
from torch.multiprocessing.spawn import ProcessRaisedException

from digits.config import DataConfig
from digits.data.mnist import MNISTDataModule
from digits.errors import DivergedError, RunError, UserError
from digits.evaluation import evaluate as testing
from digits.evaluation import robustness
from digits.model.classifier import DigitClassifier
from digits.model.network import Network
from digits.runs.checkpoint import Checkpoint
from digits.runs.find import find
from digits.runs.run import Run
from digits.training import hardware
from digits.training import train as training
from digits.training.train import train
from digits.validation import resolve

from ..helpers import (
    QUICK,
    RUN_FILES,
    TINY,
    TRAIN,
    Compose,
    composed,
    gpus,
    repeatable,
    run,
    run_cold,
    same,
    see_a_gpu,
    weights,
)


class StopAt(Callback):
    """Fails after the first batch of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.current_epoch == self.epoch:
            raise KeyError("stopped")


def test_a_run_directory_has_all_files_and_values(
    tiny: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    results = train(tiny(), tmp_path / "run")
    run = tmp_path / "run"
    assert {path.name for path in run.iterdir()} == RUN_FILES
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}

    content = json.loads((run / "results.json").read_text())
    assert content["status"] == "finished"
    assert content["dataset"] == {
        "name": "mnist",
        "train": 200,
        "val": 40,
        "test": 50,
        "fingerprint": results.dataset["fingerprint"],
    }
    assert (content["epochs"], content["steps"]) == (2, 20)
    assert content["seed"] == 0
    assert content["precision"] == "32-true"
    assert content["accelerator"] == "cpu"
    assert content["parameters"] == 4 * 9 + 4 + 4 * 14 * 14 * 8 + 8 + 8 * 10 + 10
    assert 0 < content["train_seconds"] < content["wall_seconds"]
    assert {"torch", "lightning", "python"} <= content["versions"].keys()
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert sum(map(sum, evaluation["confusion_matrix"])) == 50
    correct = sum(evaluation["confusion_matrix"][digit][digit] for digit in range(10))
    assert content["test_accuracy"] == evaluation["test_accuracy"] == correct / 50

    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert list(rows[0]) == [
        "epoch", "step", "lr", "train/accuracy", "train/loss", "val/accuracy", "val/loss",
    ]  # fmt: skip
    assert float(rows[content["best_epoch"]]["val/accuracy"]) == content["val_accuracy"]
    assert float(rows[content["best_epoch"]]["val/loss"]) == pytest.approx(content["val_loss"], abs=1e-6)

    log = caplog.text
    assert "conv 3×3, 1→4, padding 1, relu" in log  # the table of layers
    assert "epoch 1/2, step 5/10: loss of the batch" in log  # the article's line
    assert "Test accuracy" in log
    assert str(run) in log


def test_the_training_accuracy_is_measured_without_augmentation(
    tiny: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    results = train(tiny("evaluate_train=true", "data/augment=affine", "optimizer.lr=0.01"), tmp_path)
    data = MNISTDataModule(resolve(tiny()).data)
    images, labels = data.training_set()[torch.arange(200)]
    network = Checkpoint(tmp_path / "checkpoints/best.ckpt").network()
    with torch.no_grad():
        right = (network(images).argmax(1) == labels).sum()
    assert results.train_accuracy == pytest.approx(int(right) / 200)
    assert f"Training set   {right / 2:.2f} %" in caplog.text
    assert results.multiply_adds == 4 * 9 * 28 * 28 + 4 * 14 * 14 * 8 + 8 * 10
    assert train(tiny(), tmp_path / "other").train_accuracy is None


def test_a_training_learns(tiny: Compose, tmp_path: Path) -> None:
    assert train(tiny("trainer.max_epochs=15", "optimizer.lr=0.01"), tmp_path).test_accuracy >= 0.9


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(tiny: Compose, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(tiny(f"seed={seed}"), tmp_path / name)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert repeatable(tmp_path / "a") == repeatable(tmp_path / "b")
    assert (tmp_path / "a/metrics.csv").read_bytes() == (tmp_path / "b/metrics.csv").read_bytes()
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


@pytest.mark.slow
@pytest.mark.alone  # on all cores
@pytest.mark.parametrize("model", ["article", "compact"])
def test_the_default_training_repeats_to_the_bit(model: str, tmp_path: Path) -> None:
    """In the default precision, on genuine digits."""
    words = [
        "data=sample",
        f"model={model}",
        "trainer.accelerator=cpu",
        "trainer.limit_train_batches=4",
        "report=false",
    ]
    for name in ("a", "b"):
        train(composed(*words, "trainer.max_epochs=2"), tmp_path / name)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert repeatable(tmp_path / "a") == repeatable(tmp_path / "b")


def test_a_finished_run_is_not_run_again(tiny: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = train(tiny(), tmp_path)
    monkeypatch.setattr(training, "_train", lambda *_: pytest.fail("trained again"))
    assert train(tiny(), tmp_path) == results


def test_another_configuration_is_refused(tiny: Compose, tmp_path: Path) -> None:
    train(tiny(), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    with pytest.raises(UserError, match=r"optimizer\.lr is 0.001 there and 0.1 here"):
        train(tiny("optimizer.lr=0.1"), tmp_path)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("overrides", [[], ["callbacks=early_stopping", "optimizer=sgd", "scheduler=step"]])
def test_a_run_that_was_cut_off_resumes_to_the_same_end(
    tiny: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    cfg = tiny("trainer.max_epochs=4", "model.head.dropout=0.5", *overrides)
    train(cfg, tmp_path / "whole")
    build = training.build_trainer

    def stopping(*args: Any) -> Any:
        trainer = build(*args)
        trainer.callbacks.insert(0, StopAt(epoch=2))
        return trainer

    monkeypatch.setattr(training, "build_trainer", stopping)
    with pytest.raises(KeyError, match="stopped"):
        train(cfg, tmp_path / "cut")
    monkeypatch.setattr(training, "build_trainer", build)
    assert json.loads((tmp_path / "cut/results.json").read_text()) == {"status": "failed", "error": "'stopped'"}

    train(cfg, tmp_path / "cut")
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert same(weights(tmp_path / "whole", "best"), weights(tmp_path / "cut", "best"))
    assert repeatable(tmp_path / "whole") == repeatable(tmp_path / "cut")
    assert (tmp_path / "whole/metrics.csv").read_bytes() == (tmp_path / "cut/metrics.csv").read_bytes()


def test_a_run_does_not_resume_on_other_images(
    tiny: Compose, tiny_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = tiny()
    train(cfg, tmp_path / "run")
    (tmp_path / "run/results.json").unlink()
    monkeypatch.setattr("digits.data.mnist.stratified", lambda *_: (np.arange(200), np.arange(200, 240)))
    with pytest.raises(UserError, match="the data have changed"):
        train(cfg, tmp_path / "run")


def test_without_validation_the_last_epoch_is_tested(tiny: Compose, tmp_path: Path) -> None:
    results = train(tiny("data.val_size=0"), tmp_path)
    assert results.val_accuracy is None
    assert results.best_epoch == 1
    assert results.dataset["train"] == 240
    assert results.metric == results.test_accuracy
    assert same(weights(tmp_path, "best"), weights(tmp_path, "last"))


def test_the_best_epoch_has_the_highest_validation_accuracy(tiny: Compose, tmp_path: Path) -> None:
    results = train(tiny("trainer.max_epochs=6", "optimizer.lr=0.02"), tmp_path)
    rows = Run(tmp_path).read_metrics()
    best = max(rows, key=lambda row: row["val/accuracy"])
    assert results.val_accuracy == best["val/accuracy"]
    assert results.best_epoch == best["epoch"]


def test_early_stopping_ends_a_training_that_does_not_improve(tiny: Compose, tmp_path: Path) -> None:
    overrides = ["callbacks=early_stopping", "callbacks.early_stopping.min_delta=10", "trainer.max_epochs=9"]
    assert train(tiny(*overrides), tmp_path).epochs == 4  # the first counts, then three without improvement


def test_early_stopping_does_not_end_a_training_that_improves(tiny: Compose, tmp_path: Path) -> None:
    watching = [f"callbacks.early_stopping.{word}" for word in ("monitor=val/accuracy", "patience=1")]
    results = train(tiny("callbacks=early_stopping", *watching, "trainer.max_epochs=3"), tmp_path)
    first, second, *_ = (row["val/accuracy"] for row in Run(tmp_path).read_metrics())
    assert second > first
    assert results.epochs == 3


def test_a_loss_that_is_not_finite_ends_the_run(tiny: Compose, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="learning rate of 1e\\+30: try a smaller"):
        train(tiny("optimizer=sgd", "optimizer.lr=1e30", "scheduler=none"), tmp_path)
    assert "the loss is" in Run(tmp_path).state()


def test_a_missing_compiler_is_reported_briefly(tiny: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message of torch has several lines."""

    def forward(*args: Any) -> None:
        raise RuntimeError(
            "InvalidCxxCompiler: No working C++ compiler found in\ntorch._inductor.config.cpp.cxx: (None,)"
        )

    monkeypatch.setattr(Network, "forward", forward)
    with pytest.raises(RunError, match=r"^trainer\.compile=true needs a C\+\+ compiler, and torch finds none: .*out$"):
        train(tiny(), tmp_path)


@pytest.mark.parametrize("every", [1, 5, 100])
def test_a_loss_of_nan_is_reported_with_its_step_and_learning_rate(
    every: int, tiny: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However rarely losses are checked: at step 3 of 20, while the learning rate still rises."""
    step = DigitClassifier.training_step

    def spoilt(self: DigitClassifier, batch: Any, batch_idx: int) -> dict[str, torch.Tensor]:
        outputs = step(self, batch, batch_idx)
        return {**outputs, "loss": outputs["loss"] * (np.nan if batch_idx >= 2 else 1)}

    monkeypatch.setattr(DigitClassifier, "training_step", spoilt)
    with pytest.raises(DivergedError, match=r"the loss is nan at step 3, with a learning rate of 0\.000372"):
        train(tiny(f"trainer.log_every_n_steps={every}"), tmp_path)


def test_a_validation_loss_of_nan_ends_the_training(
    tiny: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = DigitClassifier.validation_step
    monkeypatch.setattr(
        DigitClassifier,
        "validation_step",
        lambda self, batch, number: step(self, (batch[0] * np.inf, batch[1]), number),
    )
    with pytest.raises(DivergedError, match="val/loss is nan at step 10"):
        train(tiny(), tmp_path)
    assert not Run(tmp_path).read_metrics()


@pytest.mark.skipif(bool(gpus()), reason="there is a GPU")
def test_a_missing_gpu_is_refused(tiny: Compose, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="trainer.accelerator=cpu"):
        train(tiny("trainer.accelerator=gpu"), tmp_path)


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (
            "digits.errors.UserError: a: b is damaged\nPut another: there",
            UserError,
            "a: b is damaged\nPut another: there",
        ),
        ("digits.errors.DivergedError: the loss is nan", RunError, "the loss is nan"),
        ("torch.AcceleratorError: CUDA error\n\nCompile with another", RunError, "CUDA error\n\nCompile with another"),
        ("ZeroDivisionError", RunError, "ZeroDivisionError"),
    ],
)
def test_the_error_of_a_spawned_process_is_rebuilt(
    raised: str, kind: type[Exception], message: str, tiny: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*_: Any, **__: Any) -> None:
        traceback = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    f()\n    ^^^\n'
        cause = f"{traceback}ValueError: before\n\nThe above exception was the direct cause of the following:\n\n"
        raise ProcessRaisedException(f"\n\n-- Process 1 ended:\n{cause}{traceback}{raised}\n", 1, 9)

    monkeypatch.setattr(Trainer, "fit", fit)
    with pytest.raises(kind, match=f"^{message}$"):
        train(tiny(), tmp_path)


def test_a_missing_device_is_refused_and_leaves_the_directory_free(tiny: Compose, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="trainer: "):
        train(tiny("trainer.accelerator=tpu"), tmp_path / "run")
    train(tiny("trainer.max_epochs=1"), tmp_path / "run")  # the directory is still free


@pytest.mark.parametrize("precision", ["32-true", pytest.param("bf16-mixed", marks=pytest.mark.slow)])
def test_clipping_the_gradient(tiny: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture, precision: str) -> None:
    words = ["trainer.gradient_clip_val=1", f"trainer.precision={precision}", "trainer.max_epochs=1"]
    caplog.set_level(logging.INFO)
    assert train(tiny(*words), tmp_path).status == "finished"
    assert f"optimizer {'fused' if precision == '32-true' else 'not fused'}" in caplog.text


@pytest.mark.parametrize("name", ["last", "best"])
def test_a_damaged_checkpoint_is_named(tiny: Compose, tmp_path: Path, name: str) -> None:
    train(tiny(), tmp_path)
    (tmp_path / "results.json").unlink()
    checkpoint = tmp_path / f"checkpoints/{name}.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(UserError, match=f"{name}.ckpt cannot be read .*delete .*checkpoints to train"):
        train(tiny(), tmp_path)


@pytest.mark.slow
def test_a_run_that_stopped_early_resumes_without_more_training(tiny: Compose, tmp_path: Path) -> None:
    words = ["callbacks=early_stopping", "callbacks.early_stopping.min_delta=10", "trainer.max_epochs=9"]
    before = train(tiny(*words), tmp_path)
    (tmp_path / "results.json").unlink()
    after = train(tiny(*words), tmp_path)
    assert (after.epochs, after.steps, after.test_loss) == (before.epochs, before.steps, before.test_loss)


@pytest.mark.slow
def test_a_run_that_stopped_early_is_never_tested_on_other_data(
    tiny: Compose, tmp_path: Path, tiny_mnist: Path
) -> None:
    words = ["callbacks=early_stopping", "callbacks.early_stopping.min_delta=10", "trainer.max_epochs=9"]
    train(tiny(*words), tmp_path / "run")
    (tmp_path / "run/results.json").unlink()
    (tmp_path / "empty").mkdir()
    elsewhere = tiny(*words, f"data.root={tmp_path / 'empty'}", "data.mirrors=[]")  # the sample would be used instead
    with pytest.raises(UserError, match="the data have changed since this run began"):
        train(elsewhere, tmp_path / "run")


@pytest.mark.parametrize("part", ["callbacks", "loops", "optimizer_states", "MNISTDataModule"])
def test_a_checkpoint_that_lacks_a_part_is_refused(part: str, tiny: Compose, tmp_path: Path) -> None:
    train(tiny(), tmp_path)
    (tmp_path / "results.json").unlink()
    last = Run(tmp_path).last
    content = torch.load(last, weights_only=True)
    del content[part]
    torch.save(content, last)
    with pytest.raises(UserError, match=f"it has no {part}; delete .*checkpoints to train from the start"):
        train(tiny(), tmp_path)


def test_a_network_that_has_learned_nothing_is_reported(
    tiny: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    results = train(tiny("optimizer.lr=1e-9", "trainer.max_epochs=1"), tmp_path)
    assert results.test_accuracy < 0.2
    assert "the network has learned nothing" in caplog.text


def test_the_best_epoch_by_validation_loss(tiny: Compose, tmp_path: Path) -> None:
    results = train(
        tiny("callbacks.checkpoint.monitor=val/loss", "trainer.max_epochs=6", "optimizer.lr=0.05"), tmp_path
    )
    assert results.best_epoch == min(Run(tmp_path).read_metrics(), key=lambda row: row["val/loss"])["epoch"]


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_a_training_in_bf16_or_64_bits_finishes(tiny: Compose, tmp_path: Path, precision: str) -> None:
    results = train(tiny(f"trainer.precision={precision}", "trainer.max_epochs=1"), tmp_path)
    assert results.precision == precision
    assert results.test_loss < 3


@pytest.mark.parametrize("native", [True, False])
def test_the_choice_of_precision_auto_is_logged(
    tiny: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    caplog.set_level(logging.INFO)
    results = train(tiny("trainer.precision=auto", "trainer.max_epochs=1"), tmp_path)
    assert results.precision == ("bf16-mixed" if native else "32-true")
    assert f"Precision {results.precision}" in caplog.text
    assert "memory format channels_last, optimizer fused." in caplog.text


def test_a_run_that_resumes_on_another_machine_keeps_its_precision(
    tiny: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = tiny("trainer.precision=auto")
    monkeypatch.setattr(hardware, "_computes_bf16", lambda *args: (True, "this processor"))
    with pytest.raises(KeyError, match="stopped"):
        train(cfg, tmp_path, callbacks=[StopAt(1)])
    monkeypatch.setattr(hardware, "_computes_bf16", lambda *args: (False, "this processor"))
    assert train(cfg, tmp_path).precision == "bf16-mixed"


@pytest.mark.parametrize("accelerator", ["cpu", *gpus()])
def test_a_training_on_every_available_accelerator(accelerator: str, tiny: Compose, tmp_path: Path) -> None:
    """It resumes there after a cut, and its checkpoint gives the same test accuracy on the CPU."""
    words = ["trainer.precision=bf16-mixed", "averaging=ema", "data/augment=erase", "model.head.dropout=0.1"]
    cfg = tiny(f"trainer.accelerator={accelerator}", "optimizer.lr=0.01", *words)
    with pytest.raises(KeyError, match="stopped"):
        train(cfg, tmp_path, callbacks=[StopAt(1)])
    results = train(cfg, tmp_path)
    assert (results.accelerator, results.steps) == (accelerator, 20)
    assert results.test_accuracy > 0.2  # chance is 0.1
    best = tmp_path / "checkpoints/best.ckpt"
    classifier = DigitClassifier.load_from_checkpoint(best, map_location="cpu", weights_only=True).eval()
    data = MNISTDataModule(DataConfig(root=cfg.data.root, val_size=40))
    data.setup()
    correct = sum(int((classifier(images).argmax(1) == labels).sum()) for images, labels in data.test_dataloader())
    assert results.test_accuracy == correct / 50


def test_an_unused_gpu_causes_no_warning(
    tiny: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    see_a_gpu(monkeypatch)
    assert train(tiny("trainer.max_epochs=1"), tmp_path).accelerator == "cpu"
    assert not [warning for warning in recwarn if "GPU" in str(warning.message)]


def test_the_tensorboard_logger_writes_events_and_metrics(tiny: Compose, tmp_path: Path) -> None:
    train(tiny("logger=tensorboard", "trainer.max_epochs=1"), tmp_path)
    assert list((tmp_path / "tensorboard").glob("events.*"))
    assert (tmp_path / "metrics.csv").exists()


def test_without_a_logger_there_are_no_metrics(tiny: Compose, tmp_path: Path) -> None:
    train(tiny("logger=none", "trainer.max_epochs=1"), tmp_path)
    assert not (tmp_path / "metrics.csv").exists()
    assert (tmp_path / "results.json").exists()


def test_settings_override_automatic_choices(tiny: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    train(tiny("trainer.memory_format=contiguous_format", "optimizer.fused=false", "trainer.max_epochs=1"), tmp_path)
    assert "Precision 32-true, memory format contiguous_format, optimizer not fused." in caplog.text


def test_the_network_is_compiled_on_demand(tiny: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Network] = []
    monkeypatch.setattr(Network, "compile", lambda self: compiled.append(self))
    for word in ("false", "true"):
        train(tiny(f"trainer.compile={word}", "trainer.max_epochs=1"), tmp_path / word)
    assert len(compiled) == 1


@pytest.mark.slow
def test_a_compiled_training_gives_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With SGD, since Adam takes a full step even where a gradient is only rounding. Without dropout, which draws
    other numbers when compiled.

    In a cold process, since ATEN_CPU_CAPABILITY is read once: if it names less than the processor has, torch 2.15
    compiles max-pooling wrongly, and the process crashes or reports "index out of bounds".
    """
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    words = [*QUICK, "trainer.max_epochs=1", "optimizer=sgd", "model.head.dropout=0"]
    plain = run(TRAIN, *words, "hydra.run.dir=plain", cwd=tmp_path)
    compiled = run_cold(TRAIN, *words, "trainer.compile=true", "hydra.run.dir=compiled", cwd=tmp_path, timeout=600)
    for done in (plain, compiled):
        assert done.returncode == 0, done.stderr
    expected, found = (weights(tmp_path / name) for name in ("plain", "compiled"))
    assert expected.keys() == found.keys()
    assert all(torch.allclose(expected[key], found[key], atol=1e-4) for key in expected)


@pytest.mark.slow
@pytest.mark.alone  # on all cores
@pytest.mark.mnist
def test_the_fast_experiment_is_fast_and_accurate(mnist_root: Path, tmp_path: Path) -> None:
    """The limits allow 0.2 % for a single seed and 3 s for a busy machine; benchmarks/ has exact measurements."""
    results = train(composed("experiment=fast", f"data.root={mnist_root}", "trainer.accelerator=cpu"), tmp_path)
    assert results.steps == 120
    assert results.test_accuracy >= 0.988
    assert results.train_seconds < 4


@pytest.mark.long
@pytest.mark.mnist
def test_the_compact_experiment_is_small_and_accurate(mnist_root: Path, tmp_path: Path) -> None:
    """The limits allow 0.2 % for a single seed and another processor; the README has five seeds."""
    results = train(composed("experiment=compact", f"data.root={mnist_root}", "trainer.accelerator=cpu"), tmp_path)
    assert results.parameters == 70_778
    assert results.dataset["train"] == 60_000
    assert results.test_accuracy >= 0.993
    assert results.calibration_error <= 0.005
    network, data = testing.open_test([find(tmp_path)])
    changed = robustness.measure(network, data.digits)
    assert changed["shifted"][2] >= 0.98
    assert changed["rotated"][15] >= 0.98


@pytest.mark.long
@pytest.mark.mnist
def test_the_accurate_experiment_begins_well(mnist_root: Path, tmp_path: Path) -> None:
    """With 200 of its 7,504 steps; the README has the figures of the whole training."""
    words = [f"data.root={mnist_root}", "trainer.accelerator=cpu", "trainer.max_epochs=1"]
    words.append("trainer.limit_train_batches=200")
    results = train(composed("experiment=accurate", *words), tmp_path)
    assert results.dataset["train"] == 60_000
    assert results.test_accuracy >= 0.97


@pytest.mark.long
@pytest.mark.mnist
@pytest.mark.parametrize("accelerator", ["cpu", *gpus()])
def test_the_articles_network_reaches_its_accuracy_in_ten_epochs(
    accelerator: str, mnist_root: Path, tmp_path: Path
) -> None:
    results = train(composed(f"data.root={mnist_root}", f"trainer.accelerator={accelerator}"), tmp_path)
    assert results.parameters == 3_199_106
    assert results.dataset["name"] == "mnist"
    assert results.test_accuracy >= 0.992


@pytest.mark.parametrize("package", ["tensorboard", "wandb", "mlflow"])
def test_a_logger_that_is_not_installed_is_refused(
    package: str, tiny: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"lightning.{'fabric' if package == 'tensorboard' else 'pytorch'}.loggers.{package}"
    monkeypatch.setattr(f"{module}._{package.upper()}_AVAILABLE", False)
    if package == "tensorboard":
        monkeypatch.setattr(f"{module}._TENSORBOARDX_AVAILABLE", False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=rf"logger={package} needs packages that are not installed: pip install {package}"
    ):
        train(tiny(f"logger={package}"), tmp_path)


@pytest.mark.parametrize("preset", ["fast", "profile"])
def test_debug_presets_limit_the_steps_and_only_profile_writes_a_table(
    preset: str, tiny_mnist: Path, tmp_path: Path
) -> None:
    words = [word for word in TINY if not word.startswith(("trainer.max_epochs", "trainer.log", "report"))]
    results = train(composed(*words, f"data.root={tiny_mnist}", f"debug={preset}", "report=false"), tmp_path)
    assert results.steps == {"fast": 1, "profile": 10}[preset]
    assert (tmp_path / "profile/fit-table.txt").exists() == (preset == "profile")


@pytest.mark.slow
def test_the_overfit_preset_learns_all_of_its_hundred_digits(tmp_path: Path) -> None:
    train(composed("debug=overfit", "model=compact", "trainer.accelerator=cpu"), tmp_path)
    assert Run(tmp_path).read_metrics()[-1]["train/accuracy"] == 1
