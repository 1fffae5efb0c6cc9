"""Finds, verifies and downloads the four files of MNIST, and of data sets in its format.

A file is used only if its content has the official checksum. A damaged file is reported and left in place, or renamed
if the downloaded one needs its name; a user's file is never deleted.
"""

import gzip
import hashlib
import io
import logging
import os
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import numpy.typing as npt
from rich.progress import DownloadColumn, Progress, TaskID, TransferSpeedColumn

from digits.console import shows_progress
from digits.data.sources import MNIST, Official, Source
from digits.errors import RunError, UserError
from digits.locks import Lock
from digits.runs.files import atomic

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10  # without an answer, the next mirror is tried
MIN_BYTES_PER_SECOND = 10_000  # a slower mirror is abandoned
MAX_DOWNLOAD_BYTES = 40_000_000  # the largest file, of Fashion-MNIST, has 26,421,880


class DownloadError(RunError):
    """No mirror delivered a file; the message says what each mirror answered."""


@dataclass
class Found:
    """The files found in a folder.

    Attributes:
        source: The data set that was looked for.
        contents: The content of each verified IDX file, by name, decompressed.
        paths: The path of each of them.
        damaged: The problem of each file that has an official name but not the official content.
    """

    source: Source
    contents: dict[str, bytes] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)
    damaged: dict[Path, str] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        """Names without a verified file."""
        return [name for name in self.source.files if name not in self.contents]


def find(root: Path, source: Source = MNIST) -> Found:
    """Look for the four files, raw or gz, under the names that common tools give them.

    Looks in torchvision's ``MNIST/raw`` below the folder, in the folder itself, and in subfolders named like a file.
    """
    found = Found(source)
    for name, official in source.files.items():
        candidates = _candidates(root, name, source.torchvision)
        for path in sorted(candidates, key=lambda path: bool(official.md5) and path.suffix != ".gz"):
            try:
                found.contents[name] = _read(path, official)
                found.paths[name] = path
                break
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                found.damaged[path] = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return found


def obtain(root: Path, mirrors: Sequence[str] | None = None, source: Source = MNIST) -> Found:
    """Find the four files, and fetch those that are missing or damaged.

    Several processes may call it at once: one fetches, the others wait for it.

    Args:
        root: Folder to look in; files are fetched into its ``MNIST/raw``, where torchvision finds them too.
        mirrors: Addresses of folders to fetch from; None for those that torchvision lists.
        source: The data set.

    Returns:
        All four files, verified.

    Raises:
        UserError: If the folder cannot be written, or a damaged file cannot be replaced.
        DownloadError: If no mirror delivers a missing file.
    """
    found = find(root, source)
    for path, reason in found.damaged.items():
        log.warning("Damaged: %s: %s.", path, reason)
    if not found.missing:
        return found
    try:
        if mirrors is not None and not mirrors:  # data.mirrors=[]: do not download, and do not change the folder
            raise DownloadError(f"no mirror delivered {found.missing[0]}.gz (none is given)")
        root.mkdir(parents=True, exist_ok=True)
        with Lock(root / ".fetching.lock"):
            found = find(root, source)  # again: another process may have fetched them in the meantime
            if found.missing:
                _fetch(root, found, source.mirrors() if mirrors is None else mirrors)
    except DownloadError as error:
        if found.damaged:
            path, reason = next(iter(found.damaged.items()))
            raise UserError(
                f"{path} is damaged ({reason}) and cannot be replaced: {error}. "
                "Put a good file in its place, or set data.root to another folder."
            ) from error
        raise
    except OSError as error:
        raise UserError(
            f"data.root={root} cannot take the files of {source.title}: {error.strerror}. "
            "Set it to a folder that you can write."
        ) from error
    return find(root, source)


def file_lines(found: Found) -> Iterator[str]:
    """Describe each verified file in one line."""
    for name, path in found.paths.items():
        shape = parse_idx(found.contents[name]).shape
        kind = f"{shape[0]:,} images of {shape[1]}×{shape[2]}" if len(shape) == 3 else f"{shape[0]:,} labels"
        yield f"{name:<23}  {kind:<22}  verified  {path}"


def parse_idx(content: bytes) -> npt.NDArray[np.uint8]:
    """Read an IDX file of bytes, the format of http://yann.lecun.com/exdb/mnist.

    Args:
        content: The whole file, decompressed.

    Returns:
        A uint8 array with the shape that the file states, such as (60000, 28, 28).

    Raises:
        ValueError: If it is not such a file, or its length is not what its header says.
    """
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise ValueError(f"not an IDX file of bytes: it begins with {content[:4].hex() or 'nothing'}")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:start], dtype=">u4").tolist()
    if len(shape) != content[3] or len(content) - start != np.prod(shape, dtype=object):
        raise ValueError(f"an IDX file of {len(content)} bytes, whose header states the shape {tuple(shape)}")
    return np.frombuffer(bytearray(content), dtype=np.uint8, offset=start).reshape(shape)


def _candidates(root: Path, name: str, torchvision: str) -> Iterator[Path]:
    dotted = name.replace("-idx", ".idx")  # as 7-Zip and Kaggle name it
    wrappers = [folder for folder in (root / name, root / dotted) if os.path.isdir(folder)]  # as in Kaggle's archives
    for folder in (root / torchvision / "raw", *([root / "raw"] if root.name == torchvision else []), root, *wrappers):
        for path in (folder / name, folder / f"{name}.gz", folder / dotted, folder / f"{dotted}.gz"):
            if path not in wrappers:
                yield path


def _read(path: Path, official: Official) -> bytes:
    """Read a file, and unpack it; raises ValueError if its content is not the official one."""
    if official.md5 and path.suffix != ".gz":
        raise ValueError("only the .gz file can be verified") if path.is_file() else FileNotFoundError
    with path.open("rb") as file:
        return _verified(file.read(2 * official.size), official, path.suffix == ".gz")  # no valid file is longer


def _verified(stored: bytes, official: Official, packed: bool = True) -> bytes:
    """The content of a file, unpacked; raises ValueError if it is not the official one."""
    if official.md5 and hashlib.md5(stored, usedforsecurity=False).hexdigest() != official.md5:
        raise ValueError("its checksum is not the official one")
    content = stored
    if packed:
        try:
            with gzip.open(io.BytesIO(stored)) as file:
                content = file.read(official.size + 1)  # no more: a malicious file may unpack endlessly
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"not a whole gz file: {error}") from error
    if len(content) != official.size:
        length = "more" if len(content) > official.size else f"{len(content):,}" if content else "none"
        raise ValueError(f"it should hold {official.size:,} bytes and holds {length}")
    if official.sha256 and hashlib.sha256(content).hexdigest() != official.sha256:
        raise ValueError("its checksum is not the official one")
    return content


def _fetch(root: Path, found: Found, mirrors: Sequence[str]) -> None:
    """Download the missing files, and write each once it is verified."""
    mirrors, source = list(mirrors), found.source
    folder = root / "raw" if root.name == source.torchvision else root / source.torchvision / "raw"
    # In a pipe there is only the log and no progress bar, even with FORCE_COLOR.
    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, disable=not shows_progress(sys.stdout)) as progress:
        for name in found.missing:
            official, failures = source.files[name], []
            for mirror in list(mirrors):
                address = f"{mirror.rstrip('/')}/{name}.gz"
                task = progress.add_task(f"{name}.gz", total=None)
                try:
                    stored = b"".join(_download(address, progress, task))
                    content = _verified(stored, official)
                    break
                except (ValueError, HTTPException, OSError) as error:
                    failures.append(f"{address}: {error or type(error).__name__}")
                    log.debug("No luck with %s", failures[-1])
                    progress.remove_task(task)
                    mirrors.append(mirrors.pop(0))  # try the next file elsewhere first
            else:
                raise DownloadError(f"no mirror delivered {name}.gz (" + "; ".join(failures) + ")")
            folder.mkdir(parents=True, exist_ok=True)
            if official.md5:
                _keep(folder / f"{name}.gz", stored)
            else:
                _keep(folder / name, content)
            log.info("Fetched %s", address)


def _keep(target: Path, content: bytes) -> None:
    """Write a verified file; rename a damaged one that has its name."""
    aside = target.with_name(f"{target.name}.damaged-{time.time_ns()}")
    with atomic(target, keep=aside) as file:
        file.write(content)
    if aside.exists():
        log.warning("The damaged file is kept as %s.", aside)


def _download(address: str, progress: Progress, task: TaskID) -> Iterator[bytes]:
    """Yield a file in pieces; raises OSError if the mirror is silent or slow, ValueError if it sends too much."""
    started, received = time.monotonic(), 0
    with urlopen(Request(address, headers={"User-Agent": "digits"}), timeout=TIMEOUT_SECONDS) as response:
        length = response.headers.get("Content-Length")
        progress.update(task, total=int(length) if length else None)
        while piece := response.read1(65_536):
            received += len(piece)
            seconds = time.monotonic() - started
            if seconds > TIMEOUT_SECONDS and received < seconds * MIN_BYTES_PER_SECOND:
                raise TimeoutError(f"slower than {MIN_BYTES_PER_SECOND / 1000:g} kB/s")
            if received > MAX_DOWNLOAD_BYTES:
                raise ValueError(f"sends more than {MAX_DOWNLOAD_BYTES:,} bytes")
            progress.update(task, completed=received)
            yield piece
    if length and received < int(length):
        raise ConnectionError(f"cut off after {received:,} of {int(length):,} bytes")
