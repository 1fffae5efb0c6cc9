"""Files of a run: written atomically, JSON that people can read, numbers without noise, and names in natural order."""

import json
import math
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any, BinaryIO, SupportsFloat, TypeVar, cast

import yaml
from annotated_types import Interval

from digits.errors import UserError

UNFINISHED_FILES = ".*." + 16 * "[0-9a-f]"
"""Pattern of the names of files that are being written: the final name, and a random number."""


def rounded(value: SupportsFloat) -> float:
    """A metric without the digits that float32 does not have: 0.944, not 0.9440000057220459."""
    return round(float(value), 7)


def unfinished(path: Path) -> Path:
    """A random name for a file or folder while it is written: two containers may have the same process ID."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")


def write(path: Path, content: str | bytes) -> None:
    """Write a file atomically."""
    with atomic(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def atomic(path: Path, keep: Path | None = None) -> Iterator[BinaryIO]:
    """Open a file under a temporary name, and rename it once all of it is on the disk.

    Args:
        path: The final name.
        keep: New name for the file that had this name before; None replaces it.
    """
    temporary = unfinished(path)
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
    """Flush a folder's list of names to the disk, where the system supports it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError into a `UserError` that names the file or folder.

    Raises:
        UserError: If it cannot be written.
    """
    try:
        yield
    except OSError as error:
        why = error.strerror or error  # shutil's errors have no strerror
        raise UserError(f"{path} cannot be written: {why}.") from error


def save(path: Path, content: str | bytes) -> Path:
    """Write a file atomically, create its folder if necessary, and return its path.

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
"""An integer from 0 up."""

T = TypeVar("T")


def parsed(kind: type[T], text: str) -> T:
    """Parse JSON as a dataclass, and check the type of each value.

    Raises:
        ValueError: If a value is wrong; the message names the first one.
    """
    from pydantic import ValidationError  # takes 0.1 s, which a start must not wait for

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


class PlainLoader(yaml.SafeLoader):
    """Reads plain values without YAML references: nested references can expand to more than fits in memory."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse a reference; yaml calls this for each value."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it contains references, which no run writes")
        return super().compose_node(parent, index)


def as_json(content: Mapping[str, Any]) -> str:
    """Format as JSON, with one key, or one row of a table, per line."""
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
    """Modification time of a file, in nanoseconds by the clock of the file system; 0 without the file."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key by which 9 comes before 10, and numbers before other names."""
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name)]
