"""One trial of a search: its trainings, their reports to Optuna, and their log files."""

import logging
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lightning import Callback, LightningModule, Trainer

from digits.console import ScreenHandler
from digits.data.mnist import MNISTDataModule
from digits.errors import DivergedError, RunError, UserError
from digits.overrides import compose
from digits.runs.results import PRUNED, Results
from digits.runs.run import Run
from digits.runs.start_from import pin, siblings
from digits.sweeps.space import SearchConfig
from digits.training import train as training
from digits.validation import resolve

if TYPE_CHECKING:
    import optuna

METRIC = "val/accuracy"


def seeds_of(cfg: SearchConfig, overrides: Sequence[str]) -> list[int]:
    """Consecutive seeds for each trial, from the configuration's own on; none if a trial is a single training."""
    if cfg.seeds == 1:
        return []
    start = compose(*overrides).seed
    return [start + number for number in range(cfg.seeds)]


def trainings_of(overrides: Sequence[str], trial: int, seeds: Sequence[int]) -> dict[int, list[str]]:
    """The trainings of a trial: the overrides of each, by the number that names its directory."""
    if not seeds:
        return {trial: list(overrides)}
    words = [word for word in overrides if not word.startswith("seed=")]
    return {trial * len(seeds) + number: [*words, f"seed={seed}"] for number, seed in enumerate(seeds)}


class OtherDataError(UserError):
    """A search resumes with other data than it began with."""


class Report(Callback):
    """Reports each epoch to Optuna. Ends a trial that Optuna prunes, or that has other data than earlier trials.

    Args:
        trial: Optuna's trial.
        before: Metrics of the trial's finished trainings, with other seeds.
        last: Whether this is its last training.

    Attributes:
        epoch: The last epoch that was reported, counted from 1.
    """

    def __init__(self, trial: "optuna.Trial", before: Sequence[float] = (), last: bool = True) -> None:
        self.trial = trial
        self.before = before
        self.last = last
        self.epoch = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse the sample in place of MNIST, or the other way round: their accuracies do not compare."""
        data = cast(MNISTDataModule, trainer.datamodule)  # type: ignore[attr-defined]
        study, asked, found = self.trial.study, data.cfg.name, data.description["name"]
        known = study.user_attrs.get(asked)
        if known is None:
            study.set_user_attr(asked, found)
        elif known != found:
            raise OtherDataError(
                f"this search began on {known}, and now there is {found}: set MNIST_ROOT to where MNIST's files are, "
                "or choose another --output."
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the validation accuracy, averaged over the seeds so far; epochs are counted over all seeds."""
        import optuna

        epochs, self.epoch = trainer.max_epochs or 0, trainer.current_epoch + 1
        mean = statistics.fmean([*self.before, float(trainer.callback_metrics[METRIC])])
        self.trial.report(mean, len(self.before) * epochs + self.epoch)
        if self.trial.should_prune() and not (self.last and self.epoch == epochs):
            raise optuna.TrialPruned


def run_trial(trial: "optuna.Trial", jobs: Mapping[int, list[str]], directory: Path) -> float | str:
    """Train the jobs of a trial, and report to Optuna.

    Args:
        trial: Optuna's trial.
        jobs: The overrides of each training, by the number that names its run directory.
        directory: The search's directory.

    Returns:
        The mean of their metrics, or why there is none.
    """
    import optuna

    metrics: list[float] = []
    for number, overrides in jobs.items():
        run = Run(directory / str(number))
        report = Report(trial, metrics, last=len(metrics) + 1 == len(jobs))
        try:
            metrics.append(train_job(overrides, run.path, [report]).metric)
        except optuna.TrialPruned:
            _, accuracy = max(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values.items())
            which = f" with {overrides[-1]}" if len(jobs) > 1 else ""
            reason = f"given up after epoch {report.epoch}{which}, at {100 * accuracy:.2f} %"
            run.write_state(PRUNED, reason)
            trial.study.tell(trial.number, state=optuna.trial.TrialState.PRUNED)
            return reason
        except Exception as error:
            if isinstance(error, RunError | OSError | OtherDataError) and not isinstance(error, DivergedError):
                raise  # a fault of the machine, not of this trial
            if not run.results_file.exists():  # refused before the training
                run.write_failure(error)
            trial.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            return f"failed: {' '.join(str(error).split()):.200}"
    mean = statistics.fmean(metrics)
    trial.study.tell(trial.number, mean)
    return mean


def train_job(overrides: Sequence[str], directory: Path, callbacks: Sequence[Callback] = ()) -> Results:
    """Train in a run directory, without a report; if it has finished before, return its results."""
    directory.mkdir(parents=True, exist_ok=True)
    run = Run(directory)
    with logged_to(directory):
        cfg = resolve(compose("report=false", *overrides))
        pin(cfg, run, siblings(run))
        return training.train(cfg, directory, callbacks=callbacks, wait=True)


@contextmanager
def logged_to(directory: Path) -> Iterator[None]:
    """Write the log of a training to its ``train.log``, and only warnings to the screen."""
    root = logging.getLogger()
    handler = logging.FileHandler(directory / "train.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    screens = [each for each in root.handlers if isinstance(each, ScreenHandler)]
    root.addHandler(handler)
    for screen in screens:
        screen.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for screen in screens:
            screen.setLevel(logging.NOTSET)
        root.removeHandler(handler)
        handler.close()
