"""Errors of a training with several processes, and of Lightning, as messages that a user can act on."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from digits import processes
from digits.errors import RunError, UserError, first_line
from digits.signals import interruption_of

LOST_PEER = re.compile("gloo|NCCL|Connection (reset|closed|refused)", re.IGNORECASE)
"""What torch says when another process of the training has ended."""


@contextmanager
def explained_errors(world_size: int) -> Iterator[None]:
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
