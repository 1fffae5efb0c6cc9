"""One training, from a configuration to a run directory."""

import datetime
import logging
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import torch
from lightning import Callback, seed_everything
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from digits import processes
from digits.config import SAMPLE, TrainConfig
from digits.console import duration, indented, layer_table, lightning_silenced
from digits.data import MNISTDataModule
from digits.errors import EXIT_DONE, RunError, UserError, first_line
from digits.evaluation.evaluate import measure, score
from digits.evaluation.metrics import interval
from digits.model.classifier import DigitClassifier
from digits.model.geometry import layers
from digits.model.spec import DataSpec
from digits.runs.checkpoint import Checkpoint
from digits.runs.results import FINISHED, Results
from digits.runs.run import Run
from digits.runs.start_from import pin
from digits.signals import interruption_of, keyboard_interrupt
from digits.training import hardware, provenance, thresholds
from digits.training.resume import latest_checkpoint, read_checkpoint, stopped_early
from digits.training.start_weights import load_weights
from digits.training.trainer import build_trainer
from digits.validation import resolve

log = logging.getLogger(__name__)

LOST_PEER = re.compile("gloo|NCCL|Connection (reset|closed|refused)", re.IGNORECASE)
"""What torch says when another process of the training has ended."""

FEW_IMAGES = 1_000  # in the test set; the summary shows the interval of a smaller one
SHOWN_FILES = ("*.yaml", "*.csv", "*.json", "train.log", "checkpoints/*.ckpt", "profile", "tensorboard", "wandb")
"""What the summary names in a run directory."""


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
    data = MNISTDataModule(**asdict(cfg.data), seed=cfg.seed)
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
        with (
            keyboard_interrupt(),
            processes.marked_as_launcher(),
            _process_errors(trainer.world_size),
            _closing_wandb(cfg),
        ):
            trainer.fit(classifier, data, ckpt_path=checkpoint.path if checkpoint else None, weights_only=True)
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


@contextmanager
def _closing_wandb(cfg: TrainConfig) -> Iterator[None]:
    """Close wandb's page at the end: otherwise the next training of a sweep would write into it."""
    try:
        yield
    finally:
        if cfg.logger.wandb:
            import wandb

            wandb.finish()


@contextmanager
def _process_errors(world_size: int) -> Iterator[None]:
    """Stop the other processes on an interruption, and explain the errors of processes that Lightning started."""
    try:
        yield
    except BaseException as error:
        if interruption_of(error):
            processes.stop_children()
            raise
        if isinstance(error, ProcessRaisedException):
            raise _error_of_spawned(error) from error
        if isinstance(error, MisconfigurationException):  # such as less than one batch per epoch
            raise UserError(f"trainer: {first_line(error)}.") from error
        if "InvalidCxxCompiler" in f"{type(error).__name__} {error}":
            raise RunError(
                "trainer.compile=true needs a C++ compiler, and torch finds none: install g++, or leave it out"
            ) from error
        lost = isinstance(error, RuntimeError) and world_size > 1 and LOST_PEER.search(str(error))
        if lost or isinstance(error, ProcessExitedException):
            raise RunError(
                "another process of this training has ended; run the same command in the same hydra.run.dir to resume"
            ) from error
        raise


def _error_of_spawned(error: ProcessRaisedException) -> Exception:
    """Rebuild the exception of a spawned process from its traceback text, all that torch passes on."""
    traceback = str(error).rpartition("Traceback (most recent call last):")[2].rstrip()
    raised = re.search(r"^([\w.]+)(?:: (.+))?\Z", traceback, re.MULTILINE | re.DOTALL)
    if not raised:
        return RunError(str(error))
    name, text = raised.groups()
    return (UserError if name == f"{UserError.__module__}.UserError" else RunError)(text or name)


def summary(results: Results, run: Run, spec: DataSpec) -> str:
    """What a user reads at the end of a training."""
    data = results.dataset
    noun = "digits" if spec.are_digits else "images"
    files = [str(path.relative_to(run.path)) for pattern in SHOWN_FILES for path in sorted(run.path.glob(pattern))]
    low, high = interval(results.test_accuracy, data["test"])
    lines = [
        "",
        f"Test accuracy  {100 * results.test_accuracy:.2f} % of {data['test']:,} {noun}, used once, by epoch "
        f"{results.best_epoch + 1} of {results.epochs}",
    ]
    if data["test"] < FEW_IMAGES:
        lines.append(f"               95 % interval of so few: {100 * low:.1f} to {100 * high:.1f} %")
    if results.val_accuracy is not None:
        lines.append(f"Validation     {100 * results.val_accuracy:.2f} %")
    if results.train_accuracy is not None:
        lines.append(f"Training set   {100 * results.train_accuracy:.2f} %, as it is and without dropout")
    lines.append(
        f"Data set       {data['name']}: {data['train']:,} to train, {data['val']:,} to validate, "
        f"{data['test']:,} to test"
    )
    if data["name"] == SAMPLE:
        lines.append("               A SAMPLE: these results do not compare with those of all of MNIST.")
    lines += [
        f"Time           {duration(results.train_seconds)} training, {duration(results.wall_seconds)} in all",
        f"Everything is in {run.path}:",
        *indented(", ".join(files)),
    ]
    if results.test_accuracy < (2 if spec.are_digits else 1) / len(spec.classes):
        lines.append("That is chance: the network has learned nothing. Try another optimizer.lr, or another seed.")
    return "\n".join(lines)
