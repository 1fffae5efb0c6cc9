"""One training, from a configuration to a run directory."""

import contextlib
import datetime
import hashlib
import logging
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import filelock
import torch
from hydra.utils import get_class
from lightning import Callback, Trainer, seed_everything
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler
from omegaconf import DictConfig
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from digits import processes
from digits.config import TrainConfig
from digits.console import duration, layer_table, quiet
from digits.data import MNISTDataModule
from digits.data.mnist import Description
from digits.errors import RunError, UserError, first_line
from digits.evaluation.evaluate import classifier_of, measure
from digits.evaluation.robustness import accuracy
from digits.model.classifier import DigitClassifier
from digits.model.geometry import CLASSES, layers
from digits.runs import checkpoint
from digits.runs.run import FINISHED, Dataset, Results, Run
from digits.signals import interruption_of
from digits.training import hardware as device
from digits.training import provenance
from digits.training.callbacks import (
    BatchLines,
    EpochRows,
    NoProfiler,
    ProgressBar,
    Spawned,
    SpeedUp,
    StepSeed,
    Stopwatch,
)
from digits.training.checkpoints import AtomicCheckpointIO, Checkpoints
from digits.validation import resolve

log = logging.getLogger(__name__)

LOST = re.compile("gloo|NCCL|Connection (reset|closed|refused)", re.IGNORECASE)  # what torch says without a peer
PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
NEEDED = ("callbacks", "loops", "optimizer_states", "MNISTDataModule")  # of a checkpoint, to go on from it


def train(
    cfg: DictConfig | TrainConfig,
    directory: Path | None = None,
    started: float | None = None,
    callbacks: Sequence[Callback] = (),
    wait: bool = False,
) -> Results:
    """Train a network, test its best checkpoint once, and leave everything in a run directory.

    In a directory that holds the finished run of the same configuration it returns that result, and does nothing but
    write a report that is missing; in one that holds ``checkpoints/last.ckpt``, it continues from there.

    Args:
        cfg: A configuration composed from ``conf/train.yaml``; a `TrainConfig` counts as checked.
        directory: The run directory; None for a new one under ``outputs/``.
        started: Value of ``time.perf_counter()`` from which ``wall_seconds`` counts; None for now.
        callbacks: Of Lightning, in addition to those of the configuration.
        wait: Whether to wait where another process trains in the directory, and have its result, or to refuse.

    Returns:
        What ``results.json`` says. In all but the first of several processes it does not return.

    Raises:
        UserError: If something was asked for that cannot be; nothing is trained.
        DivergedError: If the loss becomes infinite or no number.
        DownloadError: If MNIST is not to be had and ``data.offline_fallback`` is false.
    """
    started = time.perf_counter() if started is None else started
    checked = cfg if isinstance(cfg, TrainConfig) else resolve(cfg)
    run = Run(directory or Path("outputs") / datetime.datetime.now().strftime("%Y-%m-%d/%H-%M-%S-%f"))
    with quiet():
        if not processes.is_first():
            logging.disable(logging.WARNING)
            if not run.finished(checked):
                _fit(checked, run, callbacks)
                _leave_the_others()
            sys.exit()
        with run.claim(checked, wait) as finished:
            if finished and checked.report and not run.report_file.exists():
                _report(run, finished)
            return finished or _train(checked, run, started, callbacks)


def _train(cfg: TrainConfig, run: Run, started: float, callbacks: Sequence[Callback]) -> Results:
    data, precision = _fit(cfg, run, callbacks)
    last, best = (_read(path) for path in (run.last, run.best))
    tested = _test(cfg, run, data)
    results = Results(
        status=FINISHED,
        **tested,
        dataset=cast(Dataset, asdict(data.description)),
        epochs=last["epoch"] + 1,
        best_epoch=best["epoch"],
        steps=last["global_step"],
        train_seconds=round(last["callbacks"]["Stopwatch"]["seconds"], 3),
        wall_seconds=round(time.perf_counter() - started, 3),
        seed=cfg.seed,
        precision=precision,
        versions=provenance.versions(),
        hardware=provenance.hardware(tested["accelerator"]),
        git=provenance.git(),
    )
    if cfg.report:
        _report(run, results)
    run.previous.unlink(missing_ok=True)
    run.write_results(results)  # last: cut off before, a run goes on and writes the rest
    log.info("%s", summary(results, run))
    return results


def _report(run: Run, results: Results) -> None:
    """Write the report; the run finishes without it too."""
    from digits.explanation.report import write

    try:
        write(run, results)
    except Exception as error:
        if interruption_of(error):
            raise
        log.warning("No report: %s. Once that is put right: digits report %s", error, run.path)


def _fit(cfg: TrainConfig, run: Run, callbacks: Sequence[Callback]) -> tuple[MNISTDataModule, str]:
    """Train, and leave ``best.ckpt``, ``last.ckpt`` and ``metrics.csv``; the data and the precision that it had."""
    seed_everything(cfg.seed, verbose=False)
    arithmetic = device.arithmetic(cfg)
    trainer = _trainer(cfg, run, arithmetic.precision, callbacks)
    if trainer.is_global_zero:
        run.write_config(cfg)  # not before everything that was asked for is known to be there
    log.info("%s\n", layer_table(layers(cfg.model.blocks, cfg.model.head)))
    data = MNISTDataModule(**asdict(cfg.data), seed=cfg.seed)
    classifier = DigitClassifier(
        asdict(cfg.model),
        arithmetic.optimizer,
        asdict(cfg.scheduler) if cfg.scheduler else None,
        cfg.label_smoothing,
        arithmetic.memory_format,
    )
    saved, content = _saved(run)
    if saved:
        data.setup()
        data.load_state_dict(content["MNISTDataModule"])  # refuses other data
        if _stopped_early(content):
            return data, arithmetic.precision
        log.info("Continuing from %s.", saved)
    try:
        trainer.fit(classifier, data, ckpt_path=saved, weights_only=True)
    except BaseException as error:
        if interruption_of(error):
            processes.stop_children()
            raise
        if isinstance(error, ProcessRaisedException):
            raise _raised_there(error) from error
        lost = isinstance(error, RuntimeError) and trainer.world_size > 1 and LOST.search(str(error))
        if lost or isinstance(error, ProcessExitedException):
            raise RunError(
                "another process of this training has ended; the same command in the same hydra.run.dir goes on"
            ) from error
        raise
    finally:
        if cfg.logger.wandb:  # the next training of a sweep would write into this one's page
            import wandb

            wandb.finish()
    return data, arithmetic.precision


def _raised_there(error: ProcessRaisedException) -> Exception:
    """What a process that was spawned raised, of which there is but the traceback."""
    traceback = str(error).rpartition("Traceback (most recent call last):")[2].rstrip()
    raised = re.search(r"^([\w.]+)(?:: (.+))?\Z", traceback, re.MULTILINE | re.DOTALL)
    if not raised:
        return RunError(str(error))
    kind, told = raised.groups()
    return (UserError if kind == f"{UserError.__module__}.UserError" else RunError)(told or kind)


def _saved(run: Run) -> tuple[Path | None, dict[str, Any]]:
    """The checkpoint to go on from, and what it holds: the last one, or the one before where that is damaged.

    Raises:
        UserError: If those that there are are damaged.
    """
    there = [path for path in (run.last, run.previous) if path.exists()]
    for path in there[:-1]:
        try:
            return path, _whole(path)
        except UserError as error:
            log.warning("%s. The one before is used.", error)
    return (there[-1], _read(there[-1])) if there else (None, {})


def _read(path: Path) -> dict[str, Any]:
    """Read a checkpoint that is needed; of a damaged one it is said how to do without it."""
    try:
        return _whole(path)
    except UserError as error:
        raise UserError(f"{error}; delete {path.parent} to train from the start.") from error


def _whole(path: Path) -> dict[str, Any]:
    """Read a checkpoint of a training."""
    content = checkpoint.read(path)
    if missing := [key for key in NEEDED if not content.get(key)]:
        raise UserError(f"{path} is not what a training writes: it has no {missing[0]}")
    return content


def _stopped_early(saved: Mapping[str, Any]) -> bool:
    """Whether the training was over, by early stopping, when it was cut off; Lightning would train one epoch more."""
    callbacks = saved["callbacks"]
    return any(state.get("stopped_epoch") for name, state in callbacks.items() if name.startswith("EarlyStopping"))


def _test(cfg: TrainConfig, run: Run, data: MNISTDataModule) -> dict[str, Any]:
    """Test the best checkpoint, leave ``evaluation.json``, and return what of it belongs to the results."""
    _leave_the_others()
    evaluation, validated, accelerator = measure(
        classifier_of(run.best), data, cfg.trainer.accelerator, cfg.trainer.devices
    )
    evaluation.write(run.path)
    table = layers(cfg.model.blocks, cfg.model.head)
    return {
        "test_accuracy": evaluation.test_accuracy,
        "test_loss": evaluation.test_loss,
        "val_accuracy": validated.get("val/accuracy"),
        "val_loss": validated.get("val/loss"),
        "calibration_error": evaluation.calibration_error,
        "recall": [figures.recall for figures in evaluation.digits],
        "confusion_matrix": evaluation.confusion_matrix,
        "parameters": sum(layer.parameters for layer in table),
        "multiply_adds": sum(layer.multiply_adds for layer in table),
        "train_accuracy": _training_accuracy(run, data) if cfg.evaluate_train else None,
        "accelerator": accelerator,
    }


def _leave_the_others() -> None:
    """End what connects the processes of a training; at an exit with it, torch may abort."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _training_accuracy(run: Run, data: MNISTDataModule) -> float:
    """The share of the training images that the best checkpoint reads right."""
    every = torch.arange(len(data.training_set()))
    images, labels = (part.cpu().numpy() for part in data.training_set()[every])
    return accuracy(checkpoint.network(run.best), images, labels)


def summary(results: Results, run: Run) -> str:
    """What a person reads at the end."""
    data = Description(**results.dataset)
    files = run.path.rglob("[!.]*.*")
    lines = [
        "",
        f"Test accuracy  {100 * results.test_accuracy:.2f} % of {data.test:,} digits, read once, by epoch "
        f"{results.best_epoch + 1} of {results.epochs}",
        f"Data set       {data.name}: {data.train:,} to train, {data.val:,} to validate, {data.test:,} to test",
        f"Time           {duration(results.train_seconds)} training, {duration(results.wall_seconds)} in all",
        f"Everything is in {run.path}:",
        "  " + ", ".join(sorted(str(file.relative_to(run.path)) for file in files if ".hydra" not in file.parts)),
    ]
    if results.test_accuracy < 2 / CLASSES:
        lines.append("That is chance: the network has learned nothing. Try another optimizer.lr, or another seed.")
    if data.name != "mnist":
        lines.insert(3, "               A SAMPLE: these figures do not compare with those of all of MNIST.")
    if results.train_accuracy is not None:
        lines.insert(2, f"Training set   {100 * results.train_accuracy:.2f} %, as it is and without dropout")
    if results.val_accuracy is not None:
        lines.insert(2, f"Validation     {100 * results.val_accuracy:.2f} %")
    return "\n".join(lines)


def _trainer(cfg: TrainConfig, run: Run, precision: str, more: Sequence[Callback]) -> Trainer:
    callbacks: list[Callback] = [
        *more,
        SpeedUp(cfg.trainer.compile),
        Stopwatch(),
        BatchLines(),
        EpochRows(run if cfg.logger.csv else None),
        StepSeed(cfg.seed),
        Checkpoints(run, cfg.callbacks.checkpoint, validated=cfg.data.val_size > 0),
    ]
    if cfg.trainer.strategy == "ddp_spawn":
        callbacks.insert(0, Spawned())
    if cfg.averaging:
        callbacks.append(_built(asdict(cfg.averaging)))
    if early := cfg.callbacks.early_stopping:
        callbacks.append(_built(asdict(early), mode=early.mode))
    if sys.stdout.isatty():
        callbacks.append(ProgressBar(refresh_rate=20))
    arguments = {**asdict(cfg.trainer), "precision": precision}
    if (launched := processes.launched_externally()) and cfg.trainer.devices == "auto":
        arguments["devices"], arguments["num_nodes"] = launched
    profiler = cfg.trainer.profiler and PROFILERS[cfg.trainer.profiler](dirpath=run.path / "profile", filename="table")
    for ours in ("memory_format", "compile", "profiler"):
        del arguments[ours]
    try:
        return Trainer(
            **arguments,
            default_root_dir=run.path,
            callbacks=callbacks,
            logger=_loggers(cfg, run),
            enable_progress_bar=sys.stdout.isatty(),
            enable_model_summary=False,  # the table of layers says more
            num_sanity_val_steps=0,
            profiler=profiler or NoProfiler(),
            plugins=[AtomicCheckpointIO(run)],
        )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError, ImportError) as error:
        raise UserError(f"trainer: {first_line(error)}.") from error


def _built(node: Mapping[str, Any], **more: Any) -> Any:
    """Create what ``_target_`` names, one of the few classes that the schema allows there."""
    arguments = {**node, **more}
    return get_class(arguments.pop("_target_"))(**arguments)


def _loggers(cfg: TrainConfig, run: Run) -> list[Logger]:
    directory = run.path.resolve()
    same = hashlib.sha256(str(directory).encode()).hexdigest()[:12]  # where a run goes on, so does wandb's page
    told = {"tags": cfg.tags or None, "notes": cfg.notes or None}
    of_run: dict[str, dict[str, Any]] = {
        "tensorboard": {"save_dir": run.path},
        "wandb": {"save_dir": run.path, "name": directory.name, "id": same, "resume": "allow", **told},
        "mlflow": {"run_name": directory.name, "tags": {"directory": str(run.path), **dict.fromkeys(cfg.tags, "")}},
    }
    if cfg.notes:
        of_run["mlflow"]["tags"]["mlflow.note.content"] = cfg.notes
    loggers = []
    for package, arguments in of_run.items():
        if node := getattr(cfg.logger, package):
            database = getattr(node, "tracking_uri", "").partition("sqlite:///")[2]
            # two processes may not make a database at once
            with filelock.FileLock(f"{database}.lock") if database else contextlib.nullcontext():
                loggers.append(_logger(package, asdict(node), arguments))
    return loggers


def _logger(package: str, node: Mapping[str, Any], arguments: Mapping[str, Any]) -> Logger:
    try:
        logger: Logger = _built(node, **arguments)
    except ModuleNotFoundError as error:
        raise UserError(f"logger={package} needs a package: pip install 'digits[{package}]'.") from error
    _ = logger.experiment  # type: ignore[attr-defined]  # begins its page
    return logger
