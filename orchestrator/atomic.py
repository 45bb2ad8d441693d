"""Files and directories that are either complete or as they were, whoever else is writing them at the same time."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_directory(final: Path) -> Iterator[Path]:
    """Yield an empty directory beside `final` that takes its place when the block ends without an exception.

    Where another process finished `final` first, its version stays and this one is dropped: use it for content that
    is a function of the name.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    unfinished = final.with_name(f".{final.name}.{secrets.token_hex(6)}")
    unfinished.mkdir()
    try:
        yield unfinished
        try:
            unfinished.rename(final)
        except OSError:
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def atomic_file(final: Path) -> Iterator[Path]:
    """Yield a path beside `final`; what the block writes there takes its place when it ends without an exception."""
    final.parent.mkdir(parents=True, exist_ok=True)
    unfinished = final.with_name(f".{final.name}.{secrets.token_hex(6)}")
    try:
        yield unfinished
        unfinished.rename(final)
    finally:
        unfinished.unlink(missing_ok=True)
