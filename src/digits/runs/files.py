"""What is kept on the disk: files written whole or not at all, JSON that people can read, figures without noise."""

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any, BinaryIO, SupportsFloat, TypeVar, cast

from annotated_types import Interval

from digits.errors import UserError

UNFINISHED_FILE = re.compile(r"\.(.+)\.\d+")
"""The name of a file that is being written: its own, and the number of the process."""


def rounded(value: SupportsFloat) -> float:
    """A metric without the digits that float32 does not have: 0.944, not 0.9440000057220459."""
    return round(float(value), 7)


def write(path: Path, content: str | bytes) -> None:
    """Write a file, whole or not at all."""
    with whole(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def whole(path: Path, keep: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write under a temporary name, which gets its own once all of it is on the disk.

    Args:
        path: Its own name.
        keep: Another name, for the file that has been there before; None does without it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep and path.exists():
            path.replace(keep)
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk too, where the system has a way."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say of a file or folder that cannot be written that it is the one that a person chose.

    Raises:
        UserError: Naming it, and why.
    """
    try:
        yield
    except OSError as error:
        why = error.strerror or error  # those of shutil have no strerror
        raise UserError(f"{path} cannot be written: {why}.") from error


def save(path: Path, content: str | bytes) -> Path:
    """Write a file whole, into a folder that is made where there is none, and return its path.

    Raises:
        UserError: If it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, content)
    return path


Fraction = Annotated[float, Interval(ge=0, le=1)]
"""A number from 0 to 1."""
NonNegative = Annotated[float, Interval(ge=0, lt=math.inf)]
"""A number from 0 up."""
Count = Annotated[int, Interval(ge=0, lt=2**63)]
"""A whole number from 0 up."""

T = TypeVar("T")


def parsed(kind: type[T], text: str) -> T:
    """JSON as a dataclass, each value of the type that it states.

    Raises:
        ValueError: Naming the first value that is not.
    """
    from pydantic import ValidationError  # a tenth of a second, which a start should not wait for

    try:
        value: T = _adapter(cast(Any, kind)).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(": ".join(filter(None, [".".join(map(str, first["loc"])), first["msg"]]))) from error
    return value


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def as_json(content: Mapping[str, Any]) -> str:
    """JSON with a key, or a row of a table, on each line."""
    lines = []
    for key, value in content.items():
        rows = isinstance(value, list | tuple) and value and isinstance(value[0], list | Mapping)
        if isinstance(value, Mapping) or rows:
            parts = [f"{json.dumps(name)}: " for name in value] if isinstance(value, Mapping) else [""] * len(value)
            items = value.values() if isinstance(value, Mapping) else value
            inner = ",\n".join(f"    {part}{_line(item)}" for part, item in zip(parts, items, strict=True))
            lines.append(
                f"  {json.dumps(key)}: " + ("{\n%s\n  }" if isinstance(value, Mapping) else "[\n%s\n  ]") % inner
            )
        else:
            lines.append(f"  {json.dumps(key)}: {_line(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def changed_at(path: Path) -> int:
    """When a file was last changed, in nanoseconds by the clock of the file system; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
