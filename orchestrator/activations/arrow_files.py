"""A file of one Arrow record batch, read without believing what it says of sizes.

Batches are taken in the order of the file rather than where its footer points, so that what is looked at is what is
read. Arrow checks that a message is well formed; that its columns are as long as it says, and that nothing in it grows
when it is unpacked, is checked here.
"""

import struct
from pathlib import Path

import pyarrow as pa

MAGIC = b"ARROW1"
_START = 8
"""Bytes before the first message: the magic, filled up."""
_MESSAGE_HEADER = 2
_BATCH_COMPRESSION = 3
"""Fields of Arrow's flatbuffers, Message.header and RecordBatch.compression, by their number."""


class DamagedFile(ValueError):
    """No whole file of one record batch."""


def read_batch(path: Path) -> pa.Table:
    """The one batch of an Arrow IPC file, mapped into memory. Raises DamagedFile, OSError where it cannot be opened."""
    with pa.memory_map(str(path)) as source:
        try:
            return _batch(source.read_buffer())
        except StopIteration:
            raise DamagedFile("ends before its batch") from None
        except (pa.ArrowException, OSError, UnicodeDecodeError, struct.error) as error:
            raise DamagedFile(" ".join(str(error).split())) from None


def _batch(content: pa.Buffer) -> pa.Table:
    ends = content.size >= _START + len(MAGIC) and (content[: len(MAGIC)], content[content.size - len(MAGIC) :])
    if not ends or any(bytes(end) != MAGIC for end in ends):
        raise DamagedFile("cut short, or no Arrow file")
    messages = pa.ipc.MessageReader.open_stream(pa.BufferReader(content[_START:]))
    schema = pa.ipc.read_schema(messages.read_next_message())
    message = messages.read_next_message()
    if message.type != "record batch":
        raise DamagedFile(f"holds a {message.type} in place of a record batch")
    if _is_compressed(bytes(message.metadata)):
        raise DamagedFile("is compressed, which no shard is")
    table = pa.Table.from_batches([pa.ipc.read_record_batch(message, schema)])
    table.validate()  # buffers as long as the batch says it is
    return table


def _is_compressed(metadata: bytes) -> bool:
    """Whether a record batch's buffers are to be unpacked, into sizes that they say themselves."""
    message = struct.unpack_from("<I", metadata, 0)[0]
    header = _field(metadata, message, _MESSAGE_HEADER)
    if header is None:
        raise DamagedFile("a message without its header")
    batch = header + struct.unpack_from("<I", metadata, header)[0]
    return _field(metadata, batch, _BATCH_COMPRESSION) is not None


def _field(metadata: bytes, table: int, number: int) -> int | None:
    """Where a flatbuffer's table has a field, None where it has none."""
    vtable = table - struct.unpack_from("<i", metadata, table)[0]
    if vtable < 0 or 4 + 2 * number >= struct.unpack_from("<H", metadata, vtable)[0]:
        return None
    offset: int = struct.unpack_from("<H", metadata, vtable + 4 + 2 * number)[0]
    return table + offset if offset else None
