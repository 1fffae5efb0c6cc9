"""Errors that a user can act on, their messages and their exit codes."""

import difflib
import json
import os
from collections.abc import Iterable
from typing import Any

OUR_DEBUG, HYDRA_DEBUG = "DIGITS_DEBUG", "HYDRA_FULL_ERROR"
"""Environment variables that ask for tracebacks: ours, which takes precedence, and Hydra's, which users set."""

EXIT_DONE = 0
"""Exit code: the command has done what it was asked to do."""
EXIT_FAILED = 1
"""Exit code: the request is valid and failed while running."""
EXIT_WRONG_USE = 2
"""Exit code: the request is invalid."""


class UserError(Exception):
    """The request is invalid: a wrong key or value, a missing file.

    The message says what was given, what is allowed and what to do. Commands print it without a traceback and exit
    with 2.
    """


class RunError(Exception):
    """A valid request failed; the message says why. Commands print it and exit with 1."""


class DivergedError(RunError):
    """The loss is infinite or NaN; the message says when, and what to try."""


def message(error: BaseException) -> str:
    """The message that a command prints for an error."""
    if isinstance(error, PermissionError) and error.filename:
        return f"Error: {printable(str(error.filename))}: {error.strerror}."
    text = "\n".join(map(printable, str(error).splitlines()))
    if isinstance(error, UserError):
        return f"Error: {text}"
    if isinstance(error, RunError):
        return f"Failed: {text}"
    return f"Failed: {type(error).__name__}: {text}\nHYDRA_FULL_ERROR=1 or --debug shows where."


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type, without a full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".:")


def printable(text: str) -> str:
    """Escape everything that would move the cursor or colour the screen: a file name may contain anything."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def shown(value: Any) -> str:
    """A value as a user types it on the command line, and as YAML shows it."""
    if isinstance(value, list):
        return "[" + ",".join(map(shown, value)) + "]"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def exit_code(error: BaseException) -> int:
    """The exit code of a command that ends with this error."""
    return EXIT_WRONG_USE if isinstance(error, UserError | PermissionError) else EXIT_FAILED


def debugging() -> bool:
    """Whether the user wants tracebacks: ``HYDRA_FULL_ERROR=1``, or ``--debug``, which sets it."""
    return os.environ.get(OUR_DEBUG, os.environ.get(HYDRA_DEBUG)) not in (None, "", "0")


def did_you_mean(given: str, known: Iterable[str], prefix: str = "") -> str:
    """Suggest the most similar known name.

    Args:
        given: The unknown name, such as ``optimzer.lr`` or ``max_epochs``.
        known: The known names. The last part of a dotted name is also compared alone.
        prefix: Text before the suggested name.

    Returns:
        A sentence that begins with a space, or an empty string if no name is similar.
    """

    def similarity(name: str) -> float:
        (group, _, last), (known_group, _, known_last) = given.rpartition("."), name.rpartition(".")
        whole = _ratio(given, name) if group != known_group else 0.0  # the same group does not make keys similar
        return max(whole, _ratio(last, known_last) * (1.0 if group == known_group else 0.9))

    best = max((name for name in known if not given.startswith(f"{name}.")), key=similarity, default="")
    return f" Did you mean {prefix}{best}?" if best and similarity(best) >= 0.6 else ""


def _ratio(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()
