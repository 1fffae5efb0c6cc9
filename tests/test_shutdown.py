"""A command's process ends at once: with its exit code, with all that it printed, after every exit handler."""

import subprocess
import sys
from pathlib import Path

import pytest

from .helpers import ROOT, environment, run_cold

PROGRAM = """
import sys
from digits.shutdown import quick_exit

with quick_exit():
    import atexit, threading, time

    class Object:
        def __del__(self):
            print("destroyed")

    kept = Object()
    atexit.register(print, "handled")
    threading.Thread(target=lambda: (time.sleep(0.1), print("waited for"))).start()
    {lines}
"""


@pytest.mark.parametrize(
    ("lines", "code", "printed"),
    [
        ("sys.exit(3)", 3, ["waited for", "handled"]),
        ("sys.exit(0)", 0, ["waited for", "handled"]),
        ("pass", 0, ["waited for", "handled", "destroyed"]),
        ("raise ValueError", 1, ["waited for", "handled", "destroyed"]),
        ("import builtins; builtins.__IPYTHON__ = True; sys.exit(3)", 3, ["waited for", "handled", "destroyed"]),
    ],
)
def test_handlers_run_and_no_object_is_destroyed(lines: str, code: int, printed: list[str], tmp_path: Path) -> None:
    """Without an exit code, and in an interactive session, Python ends as usual: it destroys the objects."""
    done = run_cold("-c", PROGRAM.format(lines=lines), cwd=tmp_path)
    assert done.returncode == code
    assert done.stdout.splitlines() == printed


def test_a_broken_pipe_is_reported_as_by_python(tmp_path: Path) -> None:
    """The exit code is 120, and the error is on standard error."""
    program = PROGRAM.format(lines="print('x' * 100); sys.exit(0)")
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(PYTHONUNBUFFERED=""),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    process.stdout.close()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 120
    assert b"BrokenPipeError" in error


def test_no_handler_is_registered_before_ours() -> None:
    """Python would call an earlier handler after ours, but ours ends the process."""
    done = run_cold("-c", "import atexit, digits.shutdown; print(atexit._ncallbacks())", cwd=ROOT)
    assert done.stdout == "0\n"
