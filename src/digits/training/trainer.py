"""Builds the Lightning Trainer of a run: its callbacks, loggers and profiler."""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

from hydra.utils import get_class
from lightning import Callback, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import AdvancedProfiler, PassThroughProfiler, PyTorchProfiler, SimpleProfiler

from digits import processes
from digits.config import TrainConfig
from digits.console import shows_progress
from digits.errors import UserError, first_line
from digits.locks import Lock
from digits.runs.run import Run
from digits.training.callbacks import (
    BatchLines,
    EpochRows,
    ProgressBar,
    Spawned,
    SpeedUp,
    StepSeed,
    Stopwatch,
)
from digits.training.checkpoints import AtomicCheckpointIO, Checkpoints
from digits.validation import absolute

PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow-skinny SQLAlchemy alembic"}
PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}


class NoProfiler(PassThroughProfiler):
    """Measures nothing, at no cost: Lightning's own enters and leaves a context about sixty times per step."""

    _nothing = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        """Do nothing."""
        return self._nothing


def build_trainer(cfg: TrainConfig, run: Run, precision: str, more: Sequence[Callback]) -> Trainer:
    """Build the Trainer of a run.

    Args:
        cfg: The checked configuration.
        run: The run directory.
        precision: Lightning's name of the number format.
        more: Callbacks in addition to those of the configuration.

    Raises:
        UserError: If Lightning refuses the arguments, or a logger is not installed.
    """
    callbacks: list[Callback] = [
        *more,
        SpeedUp(precision, cfg.trainer.compile),
        Stopwatch(),
        BatchLines(),
        EpochRows(run if cfg.logger.csv else None),
        StepSeed(cfg.seed),
        Checkpoints(run, cfg.callbacks.checkpoint, validated=cfg.data.val_size > 0),
    ]
    if cfg.trainer.strategy == "ddp_spawn":
        callbacks.insert(0, Spawned())
    if cfg.averaging:
        callbacks.append(_instantiate(asdict(cfg.averaging)))
    if early := cfg.callbacks.early_stopping:
        callbacks.append(_instantiate(asdict(early), mode=early.mode))
    if with_progress := shows_progress(sys.stdout):
        callbacks.append(ProgressBar(refresh_rate=20))
    arguments = {**asdict(cfg.trainer), "precision": precision}
    if (launched := processes.launched_externally()) and cfg.trainer.devices == "auto":
        arguments["devices"], arguments["num_nodes"] = launched
    profiler = cfg.trainer.profiler and PROFILERS[cfg.trainer.profiler](dirpath=run.path / "profile", filename="table")
    for key in ("memory_format", "compile", "profiler"):  # not passed to the Trainer as they are
        del arguments[key]
    try:
        return Trainer(
            **arguments,
            default_root_dir=run.path,
            callbacks=callbacks,
            logger=build_loggers(cfg, run),
            enable_progress_bar=with_progress,
            enable_model_summary=False,  # our table of layers contains more
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # `Batches` itself distributes the images
            profiler=profiler or NoProfiler(),
            plugins=[AtomicCheckpointIO(run)],
        )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError, ImportError) as error:
        raise UserError(f"trainer: {first_line(error)}.") from error


def _instantiate(node: Mapping[str, Any], **more: Any) -> Any:
    """Instantiate the class that ``_target_`` names; the schema allows only a few."""
    arguments = {**node, **more}
    return get_class(arguments.pop("_target_"))(**arguments)


def build_loggers(cfg: TrainConfig, run: Run) -> list[Logger]:
    """Build the loggers besides ``metrics.csv``.

    Raises:
        UserError: If the package of a logger is not installed.
    """
    directory = run.path.resolve()
    page_id = hashlib.sha256(str(directory).encode()).hexdigest()[:12]  # a resumed run continues its page in wandb
    tags_and_notes = {"tags": cfg.tags or None, "notes": cfg.notes or None}
    run_arguments: dict[str, dict[str, Any]] = {
        "tensorboard": {"save_dir": run.path},
        "wandb": {"save_dir": run.path, "name": directory.name, "id": page_id, "resume": "allow", **tags_and_notes},
        "mlflow": {"run_name": directory.name, "tags": {"directory": str(run.path), **dict.fromkeys(cfg.tags, "")}},
    }
    if cfg.notes:
        run_arguments["mlflow"]["tags"]["mlflow.note.content"] = cfg.notes
    loggers = []
    for package, arguments in run_arguments.items():
        if node := getattr(cfg.logger, package):
            configured = asdict(node)
            database = configured.get("tracking_uri", "").partition("sqlite:///")[2]
            if database and database != ":memory:":
                database = absolute(database)
                configured["tracking_uri"] = f"sqlite:///{database}"
            # Two processes must not create a database at the same time.
            with Lock(f"{database}.lock") if database else nullcontext():
                loggers.append(_logger(package, configured, arguments))
    return loggers


def _logger(package: str, node: Mapping[str, Any], arguments: Mapping[str, Any]) -> Logger:
    try:
        logger: Logger = _instantiate(node, **arguments)
    except ModuleNotFoundError as error:
        raise UserError(
            f"logger={package} needs packages that are not installed: pip install {PACKAGES[package]}."
        ) from error
    _ = logger.experiment  # type: ignore[attr-defined]  # creates its page
    return logger
