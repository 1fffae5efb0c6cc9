"""Locks between processes."""

import errno
from pathlib import Path
from typing import Any

import filelock

from digits.errors import UserError


class Lock(filelock.FileLock):
    """A lock between processes: a file that one of them holds."""

    def acquire(self, *args: Any, **kwargs: Any) -> Any:
        """Acquire the lock, as `filelock.FileLock` does.

        Raises:
            UserError: If the file system has no locks.
        """
        try:
            return super().acquire(*args, **kwargs)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
                raise
            folder = Path(self.lock_file).parent
            raise UserError(
                f"the file system of {folder} has no file locks, which keep two processes apart; "
                "choose a folder on another one."
            ) from error
