"""One training, from a configuration to a run directory."""

import datetime
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import torch
from lightning import Callback, seed_everything
from omegaconf import DictConfig

from digits import processes
from digits.config import TrainConfig
from digits.console import layer_table, lightning_silenced
from digits.data.mnist import MNISTDataModule
from digits.errors import EXIT_DONE
from digits.evaluation.evaluate import measure, score
from digits.model.classifier import DigitClassifier
from digits.model.geometry import layers
from digits.runs.checkpoint import Checkpoint
from digits.runs.results import FINISHED, Results
from digits.runs.run import Run
from digits.runs.start_from import pin
from digits.signals import keyboard_interrupt
from digits.training import hardware, provenance, thresholds
from digits.training.process_errors import explained_errors
from digits.training.resume import latest_checkpoint, read_checkpoint, stopped_early
from digits.training.start_weights import load_weights
from digits.training.summary import summary
from digits.training.trainer import build_trainer
from digits.validation import resolve

log = logging.getLogger(__name__)


def train(
    cfg: DictConfig | TrainConfig,
    directory: Path | str | None = None,
    started: float | None = None,
    callbacks: Sequence[Callback] = (),
    wait: bool = False,
) -> Results:
    """Train a network, test its best checkpoint once, and write everything into a run directory.

    If the directory contains the finished run of the same configuration, return its results. If it contains
    ``checkpoints/last.ckpt``, resume.

    Args:
        cfg: A configuration composed from ``conf/train.yaml``; a `TrainConfig` counts as checked.
        directory: The run directory; None for a new one under ``outputs/``.
        started: Value of ``time.perf_counter()`` at which ``wall_seconds`` starts; None for now.
        callbacks: Lightning callbacks in addition to those of the configuration.
        wait: Whether to wait if another process trains in the directory, and return its results, or to refuse.

    Returns:
        The content of ``results.json``. With several processes, only the first one returns.

    Raises:
        UserError: If the configuration or the directory does not allow the training; nothing is trained.
        DivergedError: If the loss becomes infinite or NaN.
        DownloadError: If MNIST cannot be downloaded and ``data.offline_fallback`` is false.
    """
    started = time.perf_counter() if started is None else started
    checked = cfg if isinstance(cfg, TrainConfig) else resolve(cfg)
    run = Run(directory or Path("outputs") / datetime.datetime.now().strftime("%Y-%m-%d/%H-%M-%S-%f"))
    pin(checked, run)
    with lightning_silenced():
        if not processes.is_first():
            _help_first_process_and_exit(checked, run, callbacks)
        with run.claim(checked, wait) as earlier:
            return earlier or _train(checked, run, started, callbacks)


def _train(cfg: TrainConfig, run: Run, started: float, callbacks: Sequence[Callback]) -> Results:
    data, precision, device = _fit(cfg, run, callbacks)
    _leave_process_group()
    data.setup()
    last, best = read_checkpoint(run.last), read_checkpoint(run.best)
    thresholds.add(best, run, data, device)  # to best.ckpt
    results = Results(
        status=FINISHED,
        **_test(cfg, run, best, data, device),
        dataset=data.description,
        epochs=last.content["epoch"] + 1,
        best_epoch=best.content["epoch"],
        steps=last.content["global_step"],
        train_seconds=round(last.content["callbacks"]["Stopwatch"]["seconds"], 3),
        wall_seconds=round(time.perf_counter() - started, 3),
        seed=cfg.seed,
        start_from={"checkpoint": cfg.start_from, "sha256": str(cfg.start_sha256)} if cfg.start_from else None,
        precision=precision,
        versions=provenance.versions(),
        hardware=provenance.hardware(_accelerator(device)),
        git=provenance.git(),
    )
    run.previous.unlink(missing_ok=True)
    run.write_results(results)  # last: a run that is cut off before resumes and writes the rest
    log.info("%s", summary(results, run, data.spec))
    return results


def _fit(cfg: TrainConfig, run: Run, callbacks: Sequence[Callback]) -> tuple[MNISTDataModule, str, torch.device]:
    """Train, and write ``best.ckpt``, ``last.ckpt`` and ``metrics.csv``; return the data, precision and device."""
    seed_everything(cfg.seed, verbose=False)
    checkpoint = latest_checkpoint(run)
    states = checkpoint.content["callbacks"] if checkpoint else {}
    settings = hardware.choose(cfg, states.get("SpeedUp", {}).get("precision"))
    data = MNISTDataModule(cfg.data, cfg.seed)
    trainer = build_trainer(cfg, run, settings.precision, callbacks)
    spec = data.spec
    log.info("%s\n", layer_table(layers(cfg.model.blocks, cfg.model.head, len(spec.classes))))
    classifier = DigitClassifier(
        asdict(cfg.model),
        settings.optimizer,
        asdict(cfg.scheduler) if cfg.scheduler else None,
        cfg.label_smoothing,
        settings.memory_format,
        {**asdict(spec), "classes": list(spec.classes)},
        cfg.freeze,
    )
    if checkpoint:
        data.setup()
        data.load_state_dict(checkpoint.content["MNISTDataModule"])  # refuses other data
        log.info("Continuing from %s.", checkpoint.path)
    elif cfg.start_from:
        load_weights(classifier.network, cfg)
    if trainer.is_global_zero:
        run.write_config(cfg)  # only once everything that the configuration asks for is known to exist
    if not (checkpoint and stopped_early(checkpoint)):
        try:
            with keyboard_interrupt(), processes.marked_as_launcher(), explained_errors(trainer.world_size):
                trainer.fit(classifier, data, ckpt_path=checkpoint.path if checkpoint else None, weights_only=True)
        finally:
            if cfg.logger.wandb:  # otherwise the next training of a sweep would write into the same page
                import wandb

                wandb.finish()
    return data, settings.precision, trainer.strategy.root_device


def _test(cfg: TrainConfig, run: Run, best: Checkpoint, data: MNISTDataModule, device: torch.device) -> dict[str, Any]:
    """Test the best checkpoint, write ``evaluation.json``, and return its part of the results."""
    network = best.rated()
    validation = score(network, data.validation_set(), device) if data.description["val"] else (None, None)
    train_accuracy = score(network, data.training_set(), device)[0] if cfg.evaluate_train else None
    evaluation = measure(network, data.held_out(), device)
    evaluation.write(run.path)
    table = best.layers()
    return {
        "test_accuracy": evaluation.test_accuracy,
        "test_loss": evaluation.test_loss,
        "val_accuracy": validation[0],
        "val_loss": validation[1],
        "calibration_error": evaluation.calibration_error,
        "parameters": sum(layer.parameters for layer in table),
        "multiply_adds": sum(layer.multiply_adds for layer in table),
        "train_accuracy": train_accuracy,
        "accelerator": _accelerator(device),
    }


def _accelerator(device: torch.device) -> str:
    return "gpu" if device.type == "cuda" else device.type


def _help_first_process_and_exit(cfg: TrainConfig, run: Run, callbacks: Sequence[Callback]) -> NoReturn:
    """Train as one of several processes; the first one tests and writes the results."""
    logging.disable(logging.WARNING)
    run.check(cfg)
    if not run.results:
        _fit(cfg, run, callbacks)
        _leave_process_group()
    sys.exit(EXIT_DONE)


def _leave_process_group() -> None:
    """Disconnect the processes of a training; torch may abort if one exits while connected."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
