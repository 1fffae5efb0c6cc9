"""Reports the progress of parallel jobs."""

import threading
import time
from collections.abc import Iterable, Sequence

from digits.console import duration, say
from digits.errors import UserError
from digits.runs.files import changed_at
from digits.runs.run import Run

POLL_SECONDS = 0.5


class Progress(threading.Thread):
    """Reports the result of each job that another process runs, by looking into the run directories.

    Args:
        settings: The overrides that distinguish each job.
        runs: Their run directories.
        open_jobs: Numbers of the jobs without a result.
        at_once: How many run at the same time.
    """

    def __init__(self, settings: Sequence[str], runs: Sequence[Run], open_jobs: Iterable[int], at_once: int) -> None:
        super().__init__(daemon=True)
        self.settings = settings
        self.runs = runs
        self.at_once = at_once
        self._written = [changed_at(run.results_file) for run in runs]
        self._ended = set(range(len(runs))).difference(open_jobs)
        self._began = time.monotonic()
        self._seen = 0  # number of jobs that have ended since the start
        self._over = threading.Event()

    def run(self) -> None:
        """Poll until `finish`."""
        while not self._over.wait(POLL_SECONDS):
            self._look()
        self._look()

    def finish(self) -> None:
        """Report the remaining jobs and stop."""
        self._over.set()
        self.join()

    def _look(self) -> None:
        for number, run in enumerate(self.runs):
            written = changed_at(run.results_file)
            if written and written != self._written[number]:
                self._written[number] = written
                self._ended.add(number)
                self._seen += 1
                done = max(self._seen, self.at_once)  # jobs that started together end at about the same time
                left = time_left(time.monotonic() - self._began, done, len(self.runs) - len(self._ended))
                settings = f" ({self.settings[number]})" if self.settings[number] else ""
                text = outcome(run)[0]
                say(f"Job {number + 1} of {len(self.runs)}{settings}: {text}; {len(self._ended)} done{left}")


def outcome(run: Run) -> tuple[str, bool]:
    """The result of a run as text, and whether it has one."""
    try:
        results, state = run.outcome()
        return (f"{100 * results.metric:.2f} %", True) if results else (state, False)
    except (UserError, OSError) as error:
        return str(error), False


def time_left(seconds: float, done: int, jobs: int) -> str:
    """Estimate the time that the remaining jobs take from the time of those that are done; empty if unknown."""
    return f", about {duration(seconds / done * jobs)} left" if done and jobs else ""
