"""The callback that reports a trial to Optuna, and the log file of a trial."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lightning import Callback, LightningModule, Trainer

from digits.console import ScreenHandler
from digits.data import MNISTDataModule
from digits.errors import UserError

if TYPE_CHECKING:
    import optuna

METRIC = "val/accuracy"


class OtherDataError(UserError):
    """A search goes on with other data than it began with."""


class Report(Callback):
    """Reports each epoch to Optuna. Ends a trial that Optuna prunes, or that has other data than earlier trials.

    Args:
        trial: Optuna's trial.
    """

    def __init__(self, trial: "optuna.Trial") -> None:
        self.trial = trial

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse the sample in place of MNIST, or the other way round: their accuracies do not compare."""
        data = cast(MNISTDataModule, trainer.datamodule)  # type: ignore[attr-defined]
        study, asked, found = self.trial.study, str(data.name), data.description.name
        before = study.user_attrs.get(asked)
        if before is None:
            study.set_user_attr(asked, found)
        elif before != found:
            raise OtherDataError(
                f"this search began on {before}, and now there is {found}: set MNIST_ROOT to where MNIST's files are, "
                "or choose another --output."
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the validation accuracy of the epoch, counted from 1."""
        import optuna

        self.trial.report(float(trainer.callback_metrics[METRIC]), trainer.current_epoch + 1)
        if self.trial.should_prune() and trainer.current_epoch + 1 < (trainer.max_epochs or 0):
            raise optuna.TrialPruned


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
