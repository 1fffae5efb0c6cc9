"""Where every command starts: the process is prepared, and its outcome becomes an exit code.

A process inherits streams and variables from whatever starts it: a notebook, a cluster, a container, a service. What
would change the outcome of a command is replaced here, before libraries read it.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from digits import processes
from digits.errors import RunError
from digits.shutdown import in_ipython
from digits.signals import exit_codes, raise_if_interrupted, release_handlers

BACKEND = "MPLBACKEND"
"""matplotlib's variable for its backend. A notebook sets one that a command's environment may lack."""

NO_TELEMETRY = {
    "ORT_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
}
"""Variables that stop onnxruntime, mlflow and wandb from reporting about the machine. A user's own value is kept."""


@contextmanager
def command() -> Iterator[None]:
    """Run a command, which ends with ``sys.exit(code)``, in a prepared process.

    An exception becomes a message and an exit code. A command that ends without an exit code has not done its task, and
    exits with 1.
    """
    open_streams()
    with exit_codes():
        processes.forget_other_launchers()
        for name, value in NO_TELEMETRY.items():
            os.environ.setdefault(name, value)
        if not in_ipython():
            os.environ[BACKEND] = "agg"  # a command draws into files only
        try:
            yield
        except SystemExit as ended:
            if ended.code is not None:
                raise
        finally:
            if in_ipython():  # `%run train.py`: the process continues
                release_handlers()
        raise_if_interrupted()
        raise RunError("the command ended before it was done")


def open_streams() -> None:
    """Make sure that printing cannot fail: a stream may be closed, or lack the characters of a message."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # `>&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # for the whole process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
