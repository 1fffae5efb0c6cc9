"""The errors that a person can act on, and the exit codes of every command."""

import difflib
from collections.abc import Iterable

FAILED = 1
"""Exit code: it was asked for rightly and failed while running."""
WRONG_USE = 2
"""Exit code: what was asked for cannot be."""


class UserError(Exception):
    """Something was asked for that cannot be: a wrong key or value, a file that is not there.

    The message says what was given, what is allowed and what to do. Commands print it without a traceback and exit
    with 2.
    """


class Interrupted(BaseException):
    """The process was told to stop; not an ``Exception``, so that nothing on the way takes it for a failure.

    Args:
        signal_number: The signal that arrived; a command exits with 128 plus it, as shells have it.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number


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

    best = max(known, key=likeness, default="")
    return f" Did you mean {prefix}{best}?" if best and likeness(best) >= 0.6 else ""


def _ratio(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()
