"""A run directory: what is in it, reading it, and writing each file whole or not at all."""

import contextlib
import csv
import io
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import filelock
import yaml
from annotated_types import Len
from typing_extensions import TypedDict  # the one that pydantic takes before Python 3.12

from digits.config import TrainConfig
from digits.errors import UserError, shown
from digits.model.geometry import CLASSES
from digits.runs.files import UNFINISHED_FILE, Amount, Count, Share, as_json, parsed, write
from digits.signals import interruption_of

log = logging.getLogger(__name__)

# Keys that may have other values when a run goes on: where the data are, since a fingerprint guards what they are; how
# often it is saved; the report; and what people say of it.
FREE = (
    "data.root",
    "data.mirrors",
    "callbacks.checkpoint.every_n_steps",
    "callbacks.checkpoint.every_n_seconds",
    "report",
    "tags",
    "notes",
)
OWN_FILES = ("config.yaml", "metrics.csv", "evaluation.json", "results.json", "index.html", "best.ckpt", "last.ckpt")
FINISHED, FAILED, PRUNED, UNFINISHED = "finished", "failed", "pruned", "unfinished"


class Dataset(TypedDict):
    """What a run says of its images."""

    name: str
    train: int
    val: int
    test: int
    fingerprint: str


@dataclass(frozen=True)
class Results:
    """What ``results.json`` says of a finished run.

    Attributes:
        status: ``finished``; anything else is not a result.
        test_accuracy: Share of the test set, 0 to 1.
        test_loss: Mean cross-entropy over the test set, in nats.
        val_accuracy: The same of the validation set, by the same checkpoint; None without one.
        val_loss: The same of the validation set; None without one.
        dataset: ``name``, ``train``, ``val``, ``test`` sizes, ``fingerprint``.
        epochs: Epochs trained.
        best_epoch: Epoch, from 0, whose checkpoint was tested.
        steps: Optimizer steps.
        train_seconds: First batch to last optimizer step, validation left out.
        wall_seconds: The whole process; of a run that was cut off, its last part.
        parameters: Number of trained values.
        seed: Seed.
        precision: Lightning's name of the arithmetic.
        accelerator: ``cpu``, ``gpu``, …
        recall: Of each digit, 0 to 9, on the test set.
        calibration_error: Expected calibration error on the test set, 0 to 1.
        confusion_matrix: Test images by digit (row) and answer (column).
        versions: Of Python and the packages.
        hardware: What it ran on.
        git: Commit and state of the checkout; None outside one.
        multiply_adds: Of one image's way through the network.
        train_accuracy: Share of the training images, as they are and without dropout, by the same checkpoint; None
            unless ``evaluate_train`` is true.
    """

    status: str
    test_accuracy: Share
    test_loss: Amount
    val_accuracy: Share | None
    val_loss: Amount | None
    dataset: Dataset
    epochs: Count
    best_epoch: Count
    steps: Count
    train_seconds: Amount
    wall_seconds: Amount
    parameters: Count
    seed: Count
    precision: str
    accelerator: str
    recall: Annotated[Sequence[Share], Len(CLASSES, CLASSES)]
    calibration_error: Share
    confusion_matrix: Annotated[Sequence[Annotated[Sequence[Count], Len(CLASSES, CLASSES)]], Len(CLASSES, CLASSES)]
    versions: Mapping[str, str]
    hardware: Mapping[str, Any]
    git: Mapping[str, Any] | None
    multiply_adds: Count | None = None
    train_accuracy: Share | None = None

    @property
    def metric(self) -> float:
        """What a sweep compares: validation accuracy; test accuracy where nothing was kept for validation."""
        return self.test_accuracy if self.val_accuracy is None else self.val_accuracy


class _PlainLoader(yaml.SafeLoader):
    """Reads plain values; no references, a few of which, of each other, can stand for more than any memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has references, which no run writes")
        return super().compose_node(parent, index)


class Run:
    """A run directory.

    Args:
        path: The directory; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.metrics_file = path / "metrics.csv"
        self.results_file = path / "results.json"
        self.report_file = path / "report" / "index.html"
        self.checkpoints = path / "checkpoints"
        self.best = self.checkpoints / "best.ckpt"
        self.last = self.checkpoints / "last.ckpt"
        self.previous = self.checkpoints / "previous.ckpt"

    def results(self) -> Results | None:
        """The results of a finished run, or None.

        Raises:
            UserError: If the file is not one that a run writes.
        """
        if self._status().status != FINISHED:
            return None
        try:
            return parsed(Results, self.results_file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(
                f"{self.results_file} is not what a run writes ({error}); delete it to run again."
            ) from error

    def failure(self) -> str | None:
        """Why the run failed, or None."""
        state = self._status()
        return state.error if state.status == FAILED else None

    def state(self) -> str:
        """``finished``, ``unfinished``, or ``failed: `` or ``pruned: `` and why."""
        state = self._status()
        return f"{state.status}: {state.error}" if state.status in (FAILED, PRUNED) else state.status

    def outcome(self) -> tuple[Results | None, str]:
        """The results of a finished run, or None, and the state, which fit, though it may finish in between.

        Raises:
            UserError: If the file is not one that a run writes.
        """
        state = self.state()
        return self.results() if state == FINISHED else None, state

    def config(self) -> dict[str, Any] | None:
        """The configuration in ``config.yaml`` as plain values, or None where there is none.

        Raises:
            UserError: If the file cannot be read.
        """
        try:
            content = yaml.load(self.config_file.read_text(encoding="utf-8"), _PlainLoader)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise UserError(f"{self.config_file} cannot be read: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict):
            raise UserError(f"{self.config_file} is not a configuration.")
        return content

    def check(self, cfg: TrainConfig) -> None:
        """Refuse a directory that holds a run of another configuration.

        Raises:
            UserError: Naming the keys that differ.
        """
        before, now = self.config(), asdict(cfg)
        if before is None:
            if self.last.exists() or self.previous.exists() or self.results():
                raise UserError(f"{self.path} holds a run without its config.yaml; choose another hydra.run.dir.")
            return
        changes = {key: values for key, values in differences([before, now]).items() if key not in FREE}
        if changes:
            told = [f"{key} is {shown(then)} there and {shown(today)} here" for key, (then, today) in changes.items()]
            more = f" and {len(told) - 3} more" if len(told) > 3 else ""
            raise UserError(
                f"{self.path} holds a run of another configuration: {'; '.join(told[:3])}{more}. "
                "Choose another hydra.run.dir, or the configuration of then."
            )

    def finished(self, cfg: TrainConfig) -> Results | None:
        """The results, if the directory holds a finished run of this configuration; None if there is work to do.

        Raises:
            UserError: If it holds a run of another configuration.
        """
        self.check(cfg)
        return self.results()

    @contextlib.contextmanager
    def claim(self, cfg: TrainConfig, wait: bool = False) -> Iterator[Results | None]:
        """Hold the directory for one training of a configuration; if that fails, the directory says why.

        Args:
            cfg: The configuration.
            wait: Whether to wait where another process trains in it.

        Yields:
            The results, if the training has been done before.

        Raises:
            UserError: If another process trains in it and it is not to be waited for, it holds another run, or it
                cannot be written.
        """
        lock = filelock.FileLock(self.path / ".lock")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._hold(lock, wait)
        except OSError as error:
            raise UserError(f"{self.path} cannot be written: {error.strerror}.") from error
        try:
            self._tidy()
            finished = self.finished(cfg)
            if not finished:
                self.results_file.unlink(missing_ok=True)  # why it failed before; it is being tried again
            try:
                yield finished
            except Exception as error:
                if not interruption_of(error):
                    with contextlib.suppress(OSError):  # what went wrong first is what a person has to know
                        self.write_failure(error)
                raise
        finally:
            lock.release()

    def is_locked(self) -> bool:
        """Whether another process is training in the directory."""
        lock = filelock.FileLock(self.path / ".lock")
        if not Path(lock.lock_file).exists():
            return False
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            return True
        except OSError:  # not readable: the training says so
            return False
        lock.release()
        return False

    def _hold(self, lock: filelock.FileLock, wait: bool) -> None:
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            if not wait:
                raise UserError(f"another process is training in {self.path}; choose another hydra.run.dir.") from error
            log.info("Another process is training in %s: waiting for it to end.", self.path)
            lock.acquire()

    def write_config(self, cfg: TrainConfig) -> None:
        """Write ``config.yaml``, which makes the directory one of this configuration."""
        write(self.config_file, yaml.safe_dump(asdict(cfg), sort_keys=False, allow_unicode=True))

    def write_results(self, results: Results) -> None:
        """Write ``results.json``, last and whole."""
        write(self.results_file, as_json(asdict(results)))

    def write_failure(self, error: BaseException) -> None:
        """Leave word of why the run failed; started again, it tries again."""
        self.write_state(FAILED, str(error) or type(error).__name__)

    def write_state(self, status: str, why: str) -> None:
        """Leave word of why there is no result."""
        write(self.results_file, as_json({"status": status, "error": why}))

    def write_metrics(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Write ``metrics.csv``: a row per epoch."""
        columns = list(dict.fromkeys(column for row in rows for column in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write(self.metrics_file, text.getvalue())

    def read_metrics(self) -> list[dict[str, float]]:
        """The rows of ``metrics.csv``; none where there is no file.

        Raises:
            UserError: If the file cannot be read.
        """
        if not self.metrics_file.exists():
            return []
        try:
            with self.metrics_file.open(encoding="utf-8", newline="") as file:
                rows = [{key: json.loads(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
            if any(
                "epoch" not in row
                or not all(isinstance(value, int | float) and math.isfinite(value) for value in row.values())
                for row in rows
            ):
                raise ValueError("it is no table of numbers with a column epoch")
        except (OSError, ValueError, TypeError, OverflowError, RecursionError, csv.Error) as error:
            raise UserError(f"{self.metrics_file} cannot be read: {error}; delete it to do without it.") from error
        return rows

    def _tidy(self) -> None:
        """Remove what was being written when a training before was killed."""
        for folder in (self.path, self.checkpoints, self.path / "report"):
            for file in folder.glob(".*"):
                unfinished = UNFINISHED_FILE.fullmatch(file.name)
                if unfinished and unfinished[1] in OWN_FILES and file.is_file():
                    file.unlink(missing_ok=True)

    def _status(self) -> "_Status":
        try:
            return parsed(_Status, self.results_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return _Status()
        except PermissionError:
            raise  # it may be a good one
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.results_file} cannot be read ({error}); delete it to run what is missing."
            ) from error


@dataclass(frozen=True)
class _Status:
    """What of ``results.json`` is always there."""

    status: str = UNFINISHED
    error: str = ""


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """The dotted keys in which configurations differ, each with its value in every one of them."""
    flattened = [dict(flat(config)) for config in configs]
    keys = dict.fromkeys(key for config in flattened for key in config)
    values = {key: tuple(config.get(key) for config in flattened) for key in keys}
    return {key: them for key, them in values.items() if any(value != them[0] for value in them)}


def flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a configuration, under its dotted key; a list is one value unless it holds groups of keys."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(node, list) and any(isinstance(item, Mapping) for item in node):
        for index, item in enumerate(node):
            yield from flat(item, f"{prefix}.{index}")
    else:
        yield prefix, node
