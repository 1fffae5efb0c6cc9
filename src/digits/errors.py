"""Errors that a person can act on, exit codes, and interruptions, which may come while modules are being imported."""

import atexit
import difflib
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

DEBUG, HYDRAS = "DIGITS_DEBUG", "HYDRA_FULL_ERROR"
"""Variables that ask for tracebacks: ours, which has the last word, and Hydra's, by which people ask."""

EXIT_FAILED = 1
"""Exit code: it was asked for rightly and failed while running."""
EXIT_WRONG_USE = 2
"""Exit code: what was asked for cannot be."""

SCHEDULERS = [getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)]  # not on Windows
"""Signals by which a scheduler announces that it takes a process away; Lightning listens to one, submitit to one."""

WAIT_FOR_FIRST = 60  # seconds; of the processes of a job, submitit has the first one end the others

Handler = Callable[[int, FrameType | None], Any]

_told = 0  # the signal that has arrived
_listening = False  # to signals, in a command
_say_ignored = sys.unraisablehook


class UserError(Exception):
    """Something was asked for that cannot be: a wrong key or value, a file that is not there.

    The message says what was given, what is allowed and what to do. Commands print it without a traceback and exit
    with 2.
    """


class RunError(Exception):
    """What was asked for rightly could not be done; the message says why. Commands print it and exit with 1."""


class Interrupted(BaseException):
    """The process was told to stop; not an ``Exception``, so that nothing on the way takes it for a failure.

    Args:
        signal_number: The signal that arrived.

    Attributes:
        signal_number: The same.
        exit_code: Of a command: 128 plus the signal's number, as shells have it.
        advice: How to go on; whoever knows it on the way up fills it in.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number
        self.advice = ""


@contextmanager
def exit_codes() -> Iterator[None]:
    """End the process as every command does: a message of a line or two, and the exit code that belongs to it."""
    obey()  # what arrived while this was imported
    listen()
    try:
        try:
            yield
        except SystemExit:  # by which a command line's parser ends
            obey()
            raise
        obey()
    except (Interrupted, Exception) as error:
        if interruption := interruption_of(error):
            _forget()
            print(f"\nInterrupted. {interruption.advice}".rstrip(), file=sys.stderr)
            sys.exit(interruption.exit_code)
        if debugging():
            traceback.print_exc()
        print(message(error), file=sys.stderr)
        sys.exit(exit_code(error))


def listen() -> None:
    """Have SIGINT and SIGTERM raise `Interrupted`."""
    global _listening, _say_ignored
    _listening = True
    if sys.unraisablehook is not _ignore:
        _say_ignored, sys.unraisablehook = sys.unraisablehook, _ignore
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


@contextmanager
def handing_over() -> Iterator[None]:
    """Where submitit listens to a scheduler, have that signal raise `Interrupted`, and hand it over in the end.

    By itself, submitit ends the process with `SystemExit` wherever it is: in what torch does not survive, or in a
    library whose clearing up then fails, which would be taken for a failure of the job.

    Raises:
        SystemExit: By which submitit ends the process once the job has been submitted again.
        RunError: If the job has run out of time so often that it is not.
    """
    before = {}
    try:
        before = listen_with(_interrupt, _schedulers())
        yield
        if before:
            obey()
        return
    except (Interrupted, Exception) as error:
        interruption = interruption_of(error)
        if not interruption or interruption.signal_number not in before:
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    _forget()
    try:
        with put_off():
            before[interruption.signal_number](interruption.signal_number, None)
    except Exception as error:
        error.__context__ = None  # it is no interruption
        raise RunError(str(error)) from error
    time.sleep(WAIT_FOR_FIRST)
    raise interruption


def obey() -> None:
    """Raise `Interrupted` again where it was dropped: in what runs as an object goes away, Python goes on after it."""
    if _told:
        raise Interrupted(_told)


def obey_later(number: int) -> None:
    """Note a signal for the next `obey`, if `listen` has been called: elsewhere, as in a notebook, nobody obeys."""
    global _told
    if _listening:
        _told = _told or number


def listen_with(handler: Handler, numbers: Iterable[int] | None = None) -> dict[int, Any]:
    """Have signals call a handler, and return those that they called before.

    Args:
        handler: What they are to call.
        numbers: The signals; by default all that tell this process to stop.
    """
    if numbers is None:
        numbers = (signal.SIGINT, signal.SIGTERM, *_schedulers())
    return {number: signal.signal(number, handler) for number in numbers}


@contextmanager
def put_off() -> Iterator[None]:
    """Obey signals at the end of this: torch's own code, while it is imported, aborts where one raises."""
    before = listen_with(_note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    obey()


@contextmanager
def importing() -> Iterator[None]:
    """Keep the garbage collector from looking through new modules again and again, half a second of a start.

    They stay out of its sight until the exit, where some would complain of leaks if they were not collected.
    """
    if "digits.training.train" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        with put_off():
            yield
        gc.freeze()
        atexit.register(gc.unfreeze)
    finally:
        gc.enable()


def interruption_of(error: BaseException | None) -> Interrupted | None:
    """The interruption that an error is, or that it came of: some libraries' clearing up fails when it is cut short."""
    while error:
        if isinstance(error, Interrupted):
            return error
        error = error.__cause__ or error.__context__
    return None


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


def _schedulers() -> list[int]:
    """The signals of a scheduler to which somebody listens."""
    return [number for number in SCHEDULERS if callable(signal.getsignal(number))]


def _note(number: int, frame: FrameType | None) -> None:
    global _told
    _told = _told or number


def _ignore(unraisable: "sys.UnraisableHookArgs") -> None:
    """Say nothing of an interruption that was dropped; it is obeyed a little later."""
    if not isinstance(unraisable.exc_value, Interrupted):
        _say_ignored(unraisable)


def _forget() -> None:
    global _told
    _told = 0


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    global _told
    _told = _told or number  # the first one decides; others hurry
    signal.signal(number, signal.SIG_IGN)  # once is enough: what follows puts things in order and ends
    raise Interrupted(_told)
