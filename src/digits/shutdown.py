"""The end of a command's process."""

import atexit
import builtins
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_exit() -> Iterator[None]:
    """End the process at once after `sys.exit`: Python's exit handlers run, but no object is destroyed.

    Python destroys objects one by one, which takes two seconds after Lightning is imported. It calls exit handlers in
    reverse order, so this comes before all other imports; a handler that is registered even earlier is not called.
    An interactive session continues.
    """
    code: int | None = None

    def end() -> None:
        if code is None:
            return
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):  # Python tries again, and reports it
            return
        os._exit(code)

    atexit.register(end)
    try:
        yield
    except SystemExit as ended:
        if isinstance(ended.code, int) and not in_ipython():
            code = ended.code
        raise


def in_ipython() -> bool:
    """Whether the command runs inside an interactive session, which continues afterwards."""
    return hasattr(builtins, "__IPYTHON__")
