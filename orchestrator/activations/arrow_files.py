"""A file of one Arrow record batch of which all but the values is known before it is opened.

Arrow parses what a file says of itself in C++, and a damaged schema has crashed the process there. So its frame, which
is everything around the values, is compared byte by byte with that of a batch of the same schema and rows written
here; Arrow then reads nothing that it did not write itself. A batch that another version of Arrow framed in another way
counts as damaged.
"""

import functools
from pathlib import Path

import numpy as np
import pyarrow as pa


class DamagedFile(ValueError):
    """Not the file that was expected."""


def read_batch(path: Path, schema: pa.Schema, rows: int) -> pa.Table:
    """The one batch of an Arrow IPC file, mapped into memory. Raises DamagedFile where it is no such batch."""
    with pa.memory_map(str(path)) as source:
        content = source.read_buffer()
        head, tail, size = frame(schema, rows)
        if content.size != size:
            raise DamagedFile(f"has {content.size} bytes, not the {size} of {rows} rows")
        if bytes(content[: len(head)]) != head or bytes(content[size - len(tail) :]) != tail:
            raise DamagedFile("has other columns, or another hookpoint, dtype or width")
        return pa.ipc.open_file(pa.BufferReader(content)).read_all()


@functools.lru_cache(maxsize=256)
def frame(schema: pa.Schema, rows: int) -> tuple[bytes, bytes, int]:
    """What such a file begins and ends with, around its values, and its size: what files of other values share."""
    one, other = (np.frombuffer(_file_of(schema, rows, byte), np.uint8) for byte in (0, 255))
    values = np.flatnonzero(one != other)
    return one[: values[0]].tobytes(), one[values[-1] + 1 :].tobytes(), len(one)


def _file_of(schema: pa.Schema, rows: int, byte: int) -> bytes:
    """A batch all of whose bytes are alike."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch([_column(field.type, rows, byte) for field in schema], schema=schema))
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _column(kind: pa.DataType, rows: int, byte: int) -> pa.Array:
    if isinstance(kind, pa.BaseExtensionType):
        width, values = kind.storage_type.list_size, kind.storage_type.value_type
        storage = pa.FixedSizeListArray.from_arrays(_column(values, rows * width, byte), type=kind.storage_type)
        return pa.ExtensionArray.from_storage(kind, storage)
    filled = np.full(rows * (kind.bit_width // 8), byte, np.uint8)
    return pa.Array.from_buffers(kind, rows, [None, pa.py_buffer(filled)])
