"""What a sweep is to consist of: ``sweep.json`` in its directory, written before the first job begins."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from digits.errors import UserError
from digits.records import as_json, write

FILE = "sweep.json"


def write_plan(sweep: Path, jobs: Sequence[Sequence[str]]) -> None:
    """Write down the jobs of a sweep.

    Args:
        sweep: The sweep's directory.
        jobs: The words of each, such as ``optimizer.lr=0.1``; it runs in the directory of its number.
    """
    told = [dict(word.lstrip("+").split("=", 1) for word in words) for words in jobs]
    write(sweep / FILE, as_json({"jobs": {str(number): words for number, words in enumerate(told)}}))


def read(sweep: Path) -> dict[str, Mapping[str, str]]:
    """The keys and values that each job of a sweep was told, by the name of its directory; nothing without a plan.

    Raises:
        UserError: If the file is not one that a sweep writes.
    """
    try:
        jobs = json.loads((sweep / FILE).read_text(encoding="utf-8"))["jobs"]
        words = [word for name, job in jobs.items() for word in (name if name.isdecimal() else None, *job.values())]
        if not all(isinstance(word, str) for word in words):
            raise ValueError("a job is a number, with words")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"{sweep / FILE} cannot be read ({error}); delete it to do without it.") from error
    return {str(name): job for name, job in jobs.items()}
