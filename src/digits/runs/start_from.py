"""The checkpoint that a training starts from: found once, and then identified by its checksum."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from digits.config import LATEST, TrainConfig
from digits.errors import UserError
from digits.runs.find import find
from digits.runs.run import Run


def pin(cfg: TrainConfig, run: Run, others: Sequence[Run] = ()) -> None:
    """Replace ``start_from`` by the path of a checkpoint, and fill in ``start_sha256``.

    A run that has begun keeps its checkpoint, whatever ``latest`` is now, and even if the file is gone.

    Args:
        cfg: The checked configuration.
        run: The run directory.
        others: Other jobs of the same sweep, which start from the same ``latest``.

    Raises:
        UserError: If the run or checkpoint does not exist.
    """
    if not cfg.start_from or cfg.start_sha256:
        return
    for begun in (run, *others):
        try:
            stored = begun.read_config() or {}
        except UserError:
            if begun is run:
                raise
            continue
        path, sha256 = stored.get("start_from"), stored.get("start_sha256")
        if path and sha256 and _may_mean(Path(path), cfg.start_from):
            cfg.start_from, cfg.start_sha256 = str(path), str(sha256)
            return
    checkpoint = find(cfg.start_from).checkpoint.resolve()
    cfg.start_from, cfg.start_sha256 = str(checkpoint), checksum(checkpoint)


def siblings(run: Run) -> list[Run]:
    """The runs beside a job of a sweep, or trial of a search, that the same command started from ``latest``."""
    found = []
    for file in sorted(run.path.parent.glob("*/config.yaml")):
        typed = file.parent / ".hydra/overrides.yaml"  # a trial has none
        if not typed.exists() or f"start_from={LATEST}" in typed.read_text(encoding="utf-8", errors="replace"):
            found.append(Run(file.parent))
    return found


def _may_mean(checkpoint: Path, source: str) -> bool:
    """Whether a user who writes this source may mean this checkpoint."""
    return source == LATEST or Path(source).resolve() in (checkpoint, checkpoint.parent.parent)


def checksum(checkpoint: Path) -> str:
    """The SHA-256 of a file."""
    with checkpoint.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
