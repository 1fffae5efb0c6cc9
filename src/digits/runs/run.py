"""A run directory: its files, and how they are read and written."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import yaml

from digits.config import TrainConfig
from digits.errors import UserError, shown
from digits.locks import Lock
from digits.runs.differences import differences
from digits.runs.files import UNFINISHED_FILES, PlainLoader, as_json, parsed, write
from digits.runs.results import FAILED, FINISHED, PRUNED, UNFINISHED, Results, Status
from digits.runs.rows import read_rows
from digits.signals import interruption_of

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from pandas import DataFrame

log = logging.getLogger(__name__)

# Keys that may change when a run resumes: the location of the data, which a fingerprint verifies; how often to save;
# the report; and the user's remarks.
IGNORED_KEYS = (
    "data.root",
    "data.mirrors",
    "callbacks.checkpoint.every_n_steps",
    "callbacks.checkpoint.every_n_seconds",
    "callbacks.checkpoint.every_epoch",
    "report",
    "tags",
    "notes",
)


class Run:
    """A run directory.

    Args:
        path: The directory; it need not exist yet.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = path = Path(path)
        self.config_file = path / "config.yaml"
        self.metrics_file = path / "metrics.csv"
        self.results_file = path / "results.json"
        self.report_file = path / "report" / "index.html"
        self.checkpoints = path / "checkpoints"
        self.best = self.checkpoints / "best.ckpt"
        self.last = self.checkpoints / "last.ckpt"
        self.previous = self.checkpoints / "previous.ckpt"
        self.epochs = self.checkpoints / "epochs"

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def epoch_file(self, epochs: int) -> Path:
        """Path of the weights after so many epochs, 0: before training; see ``callbacks.checkpoint.every_epoch``."""
        return self.epochs / f"{epochs}.ckpt"

    def epoch_files(self) -> list[Path]:
        """The weights that were kept, in the order of the epochs."""
        return sorted(
            (file for file in self.epochs.glob("*.ckpt") if file.stem.isdigit()), key=lambda file: int(file.stem)
        )

    @property
    def config(self) -> "DictConfig | None":
        """The configuration, whose keys are attributes too: ``run.config.optimizer.lr``; None before it is written.

        Raises:
            UserError: If ``config.yaml`` cannot be read.
        """
        from omegaconf import OmegaConf

        content = self.read_config()
        return None if content is None else OmegaConf.create(content, flags={"readonly": True})

    @property
    def metrics(self) -> "DataFrame":
        """The content of ``metrics.csv``: a row per epoch, a column per metric, such as ``val/accuracy``.

        Raises:
            UserError: If the file cannot be read.
        """
        from pandas import DataFrame  # takes half a second, which a start must not wait for

        rows = DataFrame(self.read_metrics())
        return rows.set_index("epoch") if len(rows) else rows

    @property
    def results(self) -> Results | None:
        """The results of a finished run, or None.

        Raises:
            UserError: If the file is not one that a run writes.
        """
        return self.outcome()[0]

    def state(self) -> str:
        """``finished``, ``unfinished``, or ``failed: `` or ``pruned: `` and the reason."""
        return self.outcome()[1]

    def outcome(self) -> tuple[Results | None, str]:
        """The results of a finished run, or None, and its state.

        Raises:
            UserError: If the file cannot be read, or is not one that a run writes.
        """
        try:
            text = self.results_file.read_text(encoding="utf-8")
            state = parsed(Status, text)
            results = parsed(Results, text) if state.status == FINISHED else None
        except FileNotFoundError:
            return None, UNFINISHED
        except PermissionError:
            raise  # the command reports it, and does not treat the run as failed
        except (IsADirectoryError, ValueError) as error:
            raise UserError(
                f"{self.results_file} is not a file that a run writes ({error}); delete it to run again."
            ) from error
        except OSError as error:  # the file may be fine
            raise UserError(f"{self.results_file} cannot be read: {error.strerror}.") from error
        return results, f"{state.status}: {state.error}" if state.status in (FAILED, PRUNED) else state.status

    def read_config(self) -> dict[str, Any] | None:
        """The configuration in ``config.yaml`` as plain values, or None without one.

        Raises:
            UserError: If the file cannot be read.
        """
        try:
            content = yaml.load(self.config_file.read_text(encoding="utf-8"), PlainLoader)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise UserError(f"{self.config_file} cannot be read: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict):
            raise UserError(f"{self.config_file} is not a configuration.")
        return content

    def check(self, cfg: TrainConfig) -> None:
        """Refuse a directory that contains a run of another configuration.

        Raises:
            UserError: If it does; the message names the keys that differ.
        """
        before, now = self.read_config(), asdict(cfg)
        if before is None:
            if self.last.exists() or self.previous.exists() or self.results:
                raise UserError(f"{self.path} holds a run without its config.yaml; choose another hydra.run.dir.")
            return
        if unknown := before.keys() - now.keys():
            raise UserError(
                f"{self.path} was written by another version of digits (it has the key {min(unknown)}), and cannot be "
                "resumed; choose another hydra.run.dir."
            )
        ignored = set(IGNORED_KEYS)
        if cfg.data.name == "folder":
            ignored.remove("data.root")  # official files are the same everywhere, but two folders are two data sets
        changes = {key: values for key, values in differences([before, now]).items() if key not in ignored}
        if changes:
            texts = [f"{key} is {shown(then)} there and {shown(today)} here" for key, (then, today) in changes.items()]
            more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
            raise UserError(
                f"{self.path} holds a run of another configuration: {'; '.join(texts[:3])}{more}. "
                "Choose another hydra.run.dir, or use the original configuration."
            )

    @contextlib.contextmanager
    def claim(self, cfg: TrainConfig, wait: bool = False) -> Iterator[Results | None]:
        """Lock the directory for one training. If the training fails, record the reason in the directory.

        Args:
            cfg: The configuration.
            wait: Whether to wait if another process trains in it.

        Yields:
            The results, if the run has finished before; else None.

        Raises:
            UserError: If another process trains in it and `wait` is false, it contains another run, or it cannot be
                written.
        """
        lock = Lock(self.path / ".lock")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if wait and self.is_locked():
                log.info("Another process is training in %s: waiting for it to end.", self.path)
            lock.acquire(timeout=-1 if wait else 0)
        except filelock.Timeout as error:
            raise UserError(f"another process is training in {self.path}; choose another hydra.run.dir.") from error
        except OSError as error:
            raise UserError(f"{self.path} cannot be written: {error.strerror}.") from error
        try:
            self._tidy()
            self.check(cfg)
            results = self.results
            if not results:
                self.results_file.unlink(missing_ok=True)  # it records an earlier failure
            try:
                yield results
            except Exception as error:
                if not interruption_of(error):
                    with contextlib.suppress(OSError):  # the first error is the one to report
                        self.write_failure(error)
                raise
        finally:
            lock.release()

    def is_locked(self) -> bool:
        """Whether another process is training in the directory."""
        if not (self.path / ".lock").exists():
            return False
        try:
            with Lock(self.path / ".lock").acquire(timeout=0):
                return False
        except filelock.Timeout:
            return True
        except OSError:  # not readable: the training will report it
            return False

    def write_config(self, cfg: TrainConfig) -> None:
        """Write ``config.yaml``: from now on the directory belongs to this configuration."""
        write(self.config_file, yaml.safe_dump(asdict(cfg), sort_keys=False, allow_unicode=True))

    def write_results(self, results: Results) -> None:
        """Write ``results.json``, after all files but the report."""
        write(self.results_file, as_json(asdict(results)))

    def write_failure(self, error: BaseException) -> None:
        """Record why the run failed. The same command tries again."""
        self.write_state(FAILED, str(error) or type(error).__name__)

    def write_state(self, status: str, why: str) -> None:
        """Record why there is no result."""
        write(self.results_file, as_json({"status": status, "error": why}))

    def read_metrics(self) -> list[dict[str, float]]:
        """The rows of ``metrics.csv``; empty without the file.

        Raises:
            UserError: If the file cannot be read.
        """
        return read_rows(self.metrics_file)

    def _tidy(self) -> None:
        """Remove incomplete files that a killed process left."""
        for folder in (self.path, self.checkpoints, self.epochs, self.path / "report", self.path / "draw"):
            for file in folder.glob(UNFINISHED_FILES):
                if file.is_file():
                    file.unlink(missing_ok=True)
