"""Finds the checkpoint from which an interrupted training resumes."""

import logging
from pathlib import Path

from digits.errors import UserError
from digits.runs.checkpoint import Checkpoint
from digits.runs.run import Run

log = logging.getLogger(__name__)

NEEDED = ("callbacks", "loops", "optimizer_states", "MNISTDataModule")
"""Parts of a checkpoint without which a training cannot resume."""


def latest_checkpoint(run: Run) -> Checkpoint | None:
    """Find the checkpoint to resume from: ``last.ckpt``, or the previous one if that is damaged; None without any.

    Raises:
        UserError: If all that exist are damaged.
    """
    paths = [path for path in (run.last, run.previous) if path.exists()]
    for path in paths[:-1]:
        try:
            return _read(path)
        except UserError as error:
            log.warning("%s. The previous one is used.", error)
    return read_checkpoint(paths[-1]) if paths else None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a training checkpoint.

    Raises:
        UserError: If it is damaged; the message says how to continue without it.
    """
    try:
        return _read(path)
    except UserError as error:
        raise UserError(f"{error}; delete {path.parent} to train from the start.") from error


def stopped_early(checkpoint: Checkpoint) -> bool:
    """Whether early stopping had ended the training already; Lightning would train one more epoch."""
    callbacks = checkpoint.content["callbacks"]
    return any(state.get("stopped_epoch") for name, state in callbacks.items() if name.startswith("EarlyStopping"))


def _read(path: Path) -> Checkpoint:
    checkpoint = Checkpoint(path)
    if missing := [key for key in NEEDED if not checkpoint.content.get(key)]:
        raise UserError(f"{path} is not what a training writes: it has no {missing[0]}")
    return checkpoint
