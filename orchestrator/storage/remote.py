"""Files at an address that pyarrow knows (s3, gs, abfs, hdfs, fsspec+...): each of them complete or absent."""

import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

from orchestrator.atomic import atomic_file
from orchestrator.errors import UserError, one_line
from orchestrator.storage.address import address_of

_COMPLETE_ON_CLOSE = ("s3", "gcs", "abfs")
"""Stores of objects, where nothing is seen of a file before it is whole."""
_PIECE = 8 << 20


class Remote:
    """What lies below an address. Its methods raise OSError for what networks and servers do."""

    def __init__(self, files: Any, root: str) -> None:
        self._files, self._root = files, root

    @classmethod
    def at(cls, address: str) -> "Remote":
        """Raises UserError for what is no address, or needs what is not installed."""
        try:
            return cls(*fs.FileSystem.from_uri(address))
        except (pa.ArrowInvalid, ImportError, ValueError, OSError) as error:
            raise UserError(
                f"storage {address!r}: is no address that can be used ({one_line(error)}); s3://BUCKET/PATH is one"
            ) from None

    def below(self, name: str) -> "Remote":
        """The part of it under `name`."""
        return Remote(self._files, f"{self._root}/{name}")

    def sizes(self) -> dict[str, int]:
        """Bytes of every file below, by its path from here; what is no path that stays below is left out."""
        listed = self._files.get_file_info(fs.FileSelector(self._root, recursive=True, allow_not_found=True))
        found = {info.path[len(self._root) + 1 :]: info.size for info in listed if info.type == fs.FileType.File}
        return {name: size for name, size in found.items() if _stays_below(name)}

    def begins(self, name: str, file: Path) -> bool:
        """Whether a file here is the one there, or goes on where that ends."""
        with self._files.open_input_stream(f"{self._root}/{name}") as theirs, file.open("rb") as ours:
            while piece := theirs.read(_PIECE):
                if ours.read(len(piece)) != piece:
                    return False
        return True

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return bool(self._files.get_file_info(f"{self._root}/{name}").type == fs.FileType.File)

    def put(self, file: Path, name: str) -> None:
        """Copy a file there. Whatever ends that early, there is no part of it under its name."""
        final = f"{self._root}/{name}"
        if self._files.type_name in _COMPLETE_ON_CLOSE:
            self._write(file, final)
            return
        folder, _, last = final.rpartition("/")
        self._files.create_dir(folder)
        unfinished = f"{folder}/.{last}.{secrets.token_hex(6)}"
        try:
            self._write(file, unfinished)
            self._files.move(unfinished, final)
        except BaseException:
            with suppress(OSError):
                self._files.delete_file(unfinished)
            raise

    def get(self, name: str, file: Path) -> None:
        """Copy a file here."""
        with (
            self._files.open_input_stream(f"{self._root}/{name}") as source,
            atomic_file(file) as unfinished,
            unfinished.open("wb") as sink,
        ):
            shutil.copyfileobj(source, sink, _PIECE)

    def remove(self) -> None:
        """Delete all that lies below."""
        if self._files.get_file_info(self._root).type == fs.FileType.Directory:
            self._files.delete_dir(self._root)

    def _write(self, file: Path, path: str) -> None:
        # In one call, which no signal breaks off: a stream to a store of objects has no way to be given up, and what
        # was written to it by then would be there as if it were all.
        fs.copy_files(
            str(file), path, source_filesystem=fs.LocalFileSystem(), destination_filesystem=self._files,
            chunk_size=_PIECE,
        )  # fmt: skip


def _stays_below(name: str) -> bool:
    """A key of an object may be any text: `/etc/x`, `a//b`, `../x`."""
    return "\0" not in name and not {"", ".", ".."} & set(name.split("/"))


def remote_of(storage: Path) -> Remote | None:
    """What `--storage` names, where that is an address. Raises UserError."""
    address = address_of(storage)
    return None if address is None else Remote.at(address)
