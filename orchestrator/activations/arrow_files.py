"""A file of one Arrow record batch of which all but the values is known before it is opened.

Arrow parses what a file says of itself in C++, and a damaged schema has crashed the process there. So its frame, which
is everything around the values, is compared byte by byte with that of a batch of the same schema and rows written
here; Arrow then reads nothing that it did not write itself. A batch that another version of Arrow framed in another way
counts as damaged.
"""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa


class DamagedFile(ValueError):
    """Not the file that was expected."""


def read_batch(path: Path, schema: pa.Schema, rows: int) -> pa.Table:
    """The one batch of an Arrow IPC file, mapped into memory. Raises DamagedFile where it is no such batch."""
    with pa.memory_map(str(path)) as source:
        content = source.read_buffer()
        head, tail, size = frame(schema, rows, content)
        if content.size != size:
            raise DamagedFile(f"has {content.size} bytes, not the {size} of {rows} rows")
        if bytes(content[: len(head)]) != head or bytes(content[size - len(tail) :]) != tail:
            raise DamagedFile("has other columns, or another hookpoint, dtype or width")
        return pa.ipc.open_file(pa.BufferReader(content)).read_all()


def frame(schema: pa.Schema, rows: int, memory: pa.Buffer) -> tuple[bytes, bytes, int]:
    """What such a file begins and ends with, around its values, and its size: what files of other values share.

    A batch is written to nowhere. Its columns all begin where `memory` does, which is neither read nor copied, so that
    no size takes room here. Raises DamagedFile where a column is longer than `memory`.
    """
    around = _Around()
    with pa.ipc.new_file(around, schema) as writer:
        writer.write_batch(pa.record_batch([_column(field.type, rows, memory) for field in schema], schema=schema))
    return bytes(around.head), bytes(around.tail), around.size


class _Around(io.RawIOBase):
    """Keeps what Arrow writes before the first column and after the last; of what is between only the length."""

    def __init__(self) -> None:
        self.head, self.tail, self.size = bytearray(), bytearray(), 0
        self._in_head = True

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        """Take a column, which Arrow hands over as the buffer it is, or anything else, which comes as bytes."""
        if isinstance(data, pa.Buffer):
            self._in_head = False
            self.tail.clear()
        elif self._in_head:
            self.head += data
        else:
            self.tail += data
        self.size += len(data)
        return len(data)


def _column(kind: pa.DataType, rows: int, memory: pa.Buffer) -> pa.Array:
    if isinstance(kind, pa.BaseExtensionType):
        width, values = kind.storage_type.list_size, kind.storage_type.value_type
        storage = pa.FixedSizeListArray.from_arrays(_column(values, rows * width, memory), type=kind.storage_type)
        return pa.ExtensionArray.from_storage(kind, storage)
    size = rows * (kind.bit_width // 8)
    if size > memory.size:
        raise DamagedFile(f"has {memory.size} bytes, too few for {rows} rows")
    return pa.Array.from_buffers(kind, rows, [None, memory[:size]])
