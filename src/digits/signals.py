"""Ctrl-C, SIGTERM and a scheduler's signals: where they interrupt a command, and where they wait.

A signal raises `Interrupted` at once, except inside `deferred`, where an exception would do damage. Some libraries
swallow an exception, so the signal is also remembered until `raise_if_interrupted`.
"""

import atexit
import gc
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from digits.errors import RunError, debugging, exit_code, message

STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Ctrl-C, a request to stop, and (not on Windows) a terminal that is closed."""

SCHEDULER_SIGNALS = [getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)]  # not Windows
"""Signals by which a scheduler announces the end of a job: Lightning listens to the first, submitit to the second."""

REQUEUE_SECONDS = 60
"""How long a process waits to be ended after a signal: only the first one of a job submits it again."""

Handler = Callable[[int, FrameType | None], Any] | signal.Handlers

_pending = 0  # the number of the first signal that has arrived and has not been handled
_installed = False  # whether a command has installed its handlers; a notebook keeps its own
_is_job = False  # whether this process runs a job of a command; in a launcher's process, our handlers may be missing
_previous_handlers: dict[int, Any] = {}  # from before the command
_unraisable_hook = sys.unraisablehook


class Interrupted(BaseException):
    """A signal asks the process to stop. Not an ``Exception``, so that nothing takes it for a failure.

    Args:
        signal_number: The signal that arrived.

    Attributes:
        signal_number: The signal that arrived.
        exit_code: 128 plus the signal's number, as in shells.
        advice: How to resume. Set by a caller while the exception propagates.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number
        self.advice = ""


def interruption_of(error: BaseException | None) -> Interrupted | None:
    """Return the `Interrupted` that caused this error, if any: interrupted cleanup code can hide it."""
    while error:
        if isinstance(error, Interrupted):
            return error
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def exit_codes() -> Iterator[None]:
    """Run a command: install the handlers, and turn an exception into a message and an exit code."""
    raise_if_interrupted()  # a signal during the first imports
    install_handlers()
    try:
        try:
            yield
        except SystemExit:  # raised by a command-line parser
            raise_if_interrupted()
            raise
        raise_if_interrupted()
    except (Interrupted, Exception) as error:
        if interruption := interruption_of(error):
            forget()
            _report(f"\nInterrupted. {interruption.advice}".rstrip())
            sys.exit(interruption.exit_code)
        _fail(error)


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Turn an exception into a message and an exit code in a callback: Hydra would turn it into a warning."""
    try:
        yield
    except Exception as error:
        if interruption := interruption_of(error):
            raise interruption from error
        _fail(error)


def _fail(error: BaseException) -> NoReturn:
    if debugging():
        _report("".join(traceback.format_exception(error)).rstrip())
    _report(message(error))
    sys.exit(exit_code(error))


def _report(text: str) -> None:
    with suppress(OSError):  # the terminal may be closed
        print(text, file=sys.stderr)


def install_handlers() -> None:
    """Make SIGINT, SIGTERM and SIGHUP raise `Interrupted`."""
    global _installed
    _installed = True
    sys.unraisablehook = _ignore_interruption
    for number, handler in replace_handlers(_raise, STOP_SIGNALS).items():
        _previous_handlers.setdefault(number, handler)


def in_command() -> bool:
    """Whether a command runs, here or as a job in a launcher's process; otherwise, digits leaves signals alone."""
    return _installed or _is_job


def begin_job() -> None:
    """Note that this process runs a job of a command."""
    global _is_job
    _is_job = True


@contextmanager
def keyboard_interrupt() -> Iterator[None]:
    """Pass Ctrl-C on to a session that calls us: Lightning would end it, and ignore Ctrl-C from then on."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as ended:
        if not isinstance(ended.__context__, KeyboardInterrupt):
            raise
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None


def release_handlers() -> None:
    """Give the signals back to a session that continues after a command. Ctrl-C raises KeyboardInterrupt there."""
    global _installed, _is_job
    _installed = _is_job = False
    sys.unraisablehook = _unraisable_hook
    if signal.SIGINT in _previous_handlers:
        _previous_handlers[signal.SIGINT] = signal.default_int_handler
    restore_handlers(_previous_handlers)
    _previous_handlers.clear()


def replace_handlers(handler: Handler, numbers: Iterable[int] | None = None) -> dict[int, Any]:
    """Set a handler for several signals, and return the previous ones by signal.

    An ignored signal stays ignored: ``nohup`` and ``&`` in a script start processes that ignore some.

    Args:
        handler: The new handler.
        numbers: The signals; by default, all that ask this process to stop.
    """
    chosen = [*STOP_SIGNALS, *_scheduler_signals()] if numbers is None else numbers
    not_ignored = [number for number in chosen if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in not_ignored}


def restore_handlers(previous: dict[int, Any]) -> None:
    """Undo `replace_handlers`."""
    for number, handler in previous.items():
        signal.signal(number, handler or signal.SIG_DFL)


def raise_if_interrupted() -> None:
    """Raise `Interrupted` for a signal that was remembered, or whose exception was swallowed, as in ``__del__``."""
    if _pending:
        raise Interrupted(_pending)


def remember(number: int) -> None:
    """Keep a signal for the next `raise_if_interrupted`. Does nothing in a notebook, which has its own handlers."""
    if _installed:
        _remember(number)


def forget() -> None:
    """Drop the remembered signal: it has been handled."""
    global _pending
    _pending = 0


@contextmanager
def deferred() -> Iterator[None]:
    """Defer signals to the end of the block. Importing torch aborts if a handler raises."""
    previous = replace_handlers(_remember)
    try:
        yield
    finally:
        restore_handlers(previous)
    raise_if_interrupted()


@contextmanager
def forward_to_scheduler() -> Iterator[None]:
    """Turn a scheduler's signal into `Interrupted`, and pass it to submitit once the block has ended.

    Submitit's own handler exits at any point, which can crash torch or make a library's cleanup fail.

    Raises:
        SystemExit: Submitit has submitted the job again.
        RunError: Submitit refuses, because the job has run out of time too often.
    """
    previous: dict[int, Any] = {}
    try:
        previous = replace_handlers(_raise, _scheduler_signals())
        yield
        if previous:
            raise_if_interrupted()
        return
    except (Interrupted, Exception) as error:
        interruption = interruption_of(error)
        if not interruption or interruption.signal_number not in previous:
            raise
    finally:
        restore_handlers(previous)
    forget()
    try:
        with deferred():
            previous[interruption.signal_number](interruption.signal_number, None)
    except Exception as error:
        error.__context__ = None  # otherwise it would count as an interruption
        raise RunError(str(error)) from error
    time.sleep(REQUEUE_SECONDS)
    raise interruption


@contextmanager
def importing() -> Iterator[None]:
    """Import slow modules: defer signals, and disable garbage collection, which saves 0.5 s at start-up.

    The new objects stay frozen until the exit, where some libraries report leaks if they are not collected.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        with deferred():
            yield
        gc.freeze()
        atexit.register(gc.unfreeze)
    finally:
        gc.enable()


def _scheduler_signals() -> list[int]:
    """The scheduler's signals that have a handler."""
    return [number for number in SCHEDULER_SIGNALS if callable(signal.getsignal(number))]


def _ignore_interruption(unraisable: "sys.UnraisableHookArgs") -> None:
    """Do not print an `Interrupted` that Python swallowed in ``__del__``: `raise_if_interrupted` raises it again."""
    if not isinstance(unraisable.exc_value, Interrupted):
        _unraisable_hook(unraisable)


def _remember(number: int, frame: FrameType | None = None) -> None:
    global _pending
    _pending = _pending or number


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    _remember(number)  # only the first signal counts
    signal.signal(number, signal.SIG_IGN)  # a second one must not interrupt the cleanup
    raise Interrupted(_pending)
