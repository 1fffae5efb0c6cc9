"""Errors that a user can act on, their messages and their exit codes."""

import difflib
import json
import os
from collections.abc import Iterable
from typing import Any

DEBUG, HYDRAS = "DIGITS_DEBUG", "HYDRA_FULL_ERROR"
"""Variables that ask for tracebacks: ours, which has the last word, and Hydra's, by which people ask."""

EXIT_FAILED = 1
"""Exit code: it was asked for rightly and failed while running."""
EXIT_WRONG_USE = 2
"""Exit code: what was asked for cannot be."""


class UserError(Exception):
    """Something was asked for that cannot be: a wrong key or value, a file that is not there.

    The message says what was given, what is allowed and what to do. Commands print it without a traceback and exit
    with 2.
    """


class RunError(Exception):
    """What was asked for rightly could not be done; the message says why. Commands print it and exit with 1."""


def message(error: BaseException) -> str:
    """What a person is told of an error."""
    if isinstance(error, PermissionError) and error.filename:
        return f"Error: {printable(str(error.filename))}: {error.strerror}."
    told = "\n".join(map(printable, str(error).splitlines()))
    if isinstance(error, UserError):
        return f"Error: {told}"
    if isinstance(error, RunError):
        return f"Failed: {told}"
    return f"Failed: {type(error).__name__}: {told}\nHYDRA_FULL_ERROR=1 or --debug shows where."


def first_line(error: BaseException) -> str:
    """The first line of what it says, or what it is, without a full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".:")


def printable(text: str) -> str:
    """A text in one line, without what would move the cursor or colour the screen: a file may hold anything."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def shown(value: Any) -> str:
    """A value as a user types it on the command line, and as YAML shows it."""
    if isinstance(value, list):
        return "[" + ",".join(map(shown, value)) + "]"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def exit_code(error: BaseException) -> int:
    """The exit code that belongs to an error."""
    return EXIT_WRONG_USE if isinstance(error, UserError | PermissionError) else EXIT_FAILED


def debugging() -> bool:
    """Whether a person wants tracebacks: ``HYDRA_FULL_ERROR=1``, or ``--debug``, which sets it."""
    return os.environ.get(DEBUG, os.environ.get(HYDRAS)) not in (None, "", "0")


def did_you_mean(given: str, known: Iterable[str], prefix: str = "") -> str:
    """Name what is nearest to a word that nobody knows.

    Args:
        given: What a person typed, such as ``optimzer.lr`` or ``max_epochs``.
        known: The names there are; of dotted ones, the last part is compared by itself too.
        prefix: Printed before the name.

    Returns:
        A sentence that begins with a space, or nothing where no name is near.
    """

    def likeness(name: str) -> float:
        (group, _, last), (known_group, _, known_last) = given.rpartition("."), name.rpartition(".")
        whole = _ratio(given, name) if group != known_group else 0.0  # a group that is right makes no key alike
        return max(whole, _ratio(last, known_last) * (1.0 if group == known_group else 0.9))

    best = max((name for name in known if not given.startswith(f"{name}.")), key=likeness, default="")
    return f" Did you mean {prefix}{best}?" if best and likeness(best) >= 0.6 else ""


def _ratio(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()
