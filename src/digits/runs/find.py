"""What a person names after training: a run directory, ``latest``, or a checkpoint."""

from dataclasses import dataclass
from pathlib import Path

from digits.errors import UserError
from digits.runs.files import changed_at
from digits.runs.run import Results, Run

LATEST = "latest"
SEARCHED = ("outputs", "multirun")  # where runs go by default, under the folder that one is in


@dataclass(frozen=True)
class Trained:
    """A trained network, and where what is made of it goes.

    Attributes:
        checkpoint: The file with its weights.
        home: Folder for what is made of it: the run directory, if the run tested this checkpoint, and otherwise the
            checkpoint's own.
        run: The run; None for a checkpoint that lies elsewhere.
    """

    checkpoint: Path
    home: Path
    run: Run | None

    def results(self) -> Results | None:
        """What a training measured of this checkpoint: of the one that it tested, and of no other."""
        return self.run.results() if self.run and self.home == self.run.path else None

    def finished_run(self) -> tuple[Run, Results]:
        """The run, where it is needed.

        Raises:
            UserError: If there is none, or it has not finished.
        """
        results = self.run and self.run.results()
        if not self.run or not results:
            raise UserError(f"{self.checkpoint} is not in the directory of a finished run, which this needs.")
        return self.run, results


def find(source: str | Path) -> Trained:
    """Find a trained network.

    Args:
        source: The directory of a finished run, ``latest`` for the newest under ``outputs`` and ``multirun``, or a
            checkpoint, finished or not.

    Raises:
        UserError: If there is none.
    """
    path = Path(source)
    if not str(source):
        raise UserError("an empty name is no run directory or checkpoint.")
    if path.suffix == ".onnx":
        raise UserError(f"{path} is an exported network, which only predict takes; name the run or a checkpoint.")
    if path.is_dir():
        run = Run(path)
        if not run.results():
            raise UserError(_not_finished(run))
        if not run.best.exists():
            raise UserError(f"{path} has no checkpoints/best.ckpt any more.")
        return Trained(run.best, path, run)
    if path.is_file():
        run = Run(path.resolve().parent.parent)
        if not run.config_file.exists():
            return Trained(path, path.parent, None)
        return Trained(path, run.path if path.resolve() == run.best.resolve() else path.parent, run)
    if str(source) == LATEST:
        return find(_latest())
    raise UserError(f"there is no run directory or checkpoint {path}.{_runs_there_are()}")


def _latest() -> Path:
    """The finished run with the newest results."""
    newest_first = sorted(_results_files(), key=changed_at, reverse=True)
    for file in newest_first:
        try:
            if Run(file.parent).results():
                return file.parent
        except UserError:
            continue
    raise UserError(f"there is no finished run under {' or '.join(SEARCHED)} here; name one, or train: digits train")


def _results_files() -> list[Path]:
    return [file for folder in SEARCHED for file in Path(folder).rglob("results.json")]


def _runs_there_are() -> str:
    return " `latest` is the newest finished one." if _results_files() else ""


def _not_finished(run: Run) -> str:
    if failure := run.failure():
        return f"{run.path} holds a run that failed: {failure}"
    if run.last.exists():
        return f"{run.path} holds a run that has not finished; the command that began it goes on with it."
    if run.config_file.exists():
        return f"{run.path} holds a run that has not finished its first epoch."
    jobs = sorted(file.parent for file in run.path.rglob("results.json"))
    hint = f" There are runs in it: {jobs[0]}, for one." if jobs else ""
    return f"{run.path} holds no run.{hint}"
