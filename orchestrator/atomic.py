"""Files and directories that are either complete or as they were, whoever else is writing them at the same time."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_directory(final: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield an empty directory beside `final` that takes its place when the block ends without an exception.

    Where another process finished `final` first, its version stays and this one is dropped: use it for content that
    is a function of the name. `durable`: what is under that name is whole after a power failure too.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    unfinished = final.with_name(f".{final.name}.{secrets.token_hex(6)}")
    unfinished.mkdir()
    try:
        yield unfinished
        if durable:
            for path in (*unfinished.rglob("*"), unfinished):
                _sync(path)
        try:
            unfinished.rename(final)
        except OSError:
            if not final.is_dir():
                raise
        if durable:
            _sync(final.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def atomic_file(final: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a path beside `final`; what the block writes there takes its place when it ends without an exception.

    `durable`: what is under that name is whole after a power failure too.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    unfinished = final.with_name(f".{final.name}.{secrets.token_hex(6)}")
    try:
        yield unfinished
        if durable:
            _sync(unfinished)
        unfinished.rename(final)
        if durable:
            _sync(final.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Put a file, or the names in a directory, on the disk: a rename may get there before what was renamed."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that does not know of this
            raise
    finally:
        os.close(descriptor)
