"""Shard files that somebody else wrote: nothing grows when it is read, and what is no shard is computed again."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from orchestrator.activations.arrow_files import frame
from orchestrator.activations.tables import read_table, write_table
from tests.fuzz.limits import little_memory
from tests.support.tables import D, L, N, read_back, table_of, tokens_of
from tests.support.waiting import LIMIT_SECONDS


def without(table: pa.Table, column: str) -> pa.Table:
    return table.drop_columns([column])


def replaced(table: pa.Table, column: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(column), column, values)


T = N * L
OTHERS: dict[str, Callable[[pa.Table], pa.Table]] = {
    "no activations": lambda table: without(table, "activation"),
    "no positions": lambda table: without(table, "position"),
    "one more": lambda table: table.append_column("more", table["norm"]),
    "positions of 64 bits": lambda table: replaced(table, "position", pa.array(np.zeros(T, np.int64))),
    "rows without values": lambda table: replaced(table, "norm", pa.array([None] * T, pa.float32())),
    "nothing for ever": lambda table: replaced(table, "norm", pa.nulls(T)),
    "activations of 64 bits": lambda table: replaced(
        table, "activation", pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((T, D)))
    ),
    "matrices": lambda table: replaced(
        table, "activation", pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((T, D, 2), np.float16))
    ),
    "words": lambda table: replaced(table, "token_id", pa.array(["a"] * T).dictionary_encode()),
}


def write(table: pa.Table, path: Path, **options: object) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema, **options) as writer:
        writer.write_table(table)


@pytest.mark.parametrize("other", OTHERS)
def test_other_columns_are_computed_again(other: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(OTHERS[other](table_of(torch.randn(N, L, D))), tmp_path / "a.arrow")
    assert read_back(tmp_path / "a.arrow") is None
    assert "is damaged and will be computed again" in caplog.text


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_what_would_be_unpacked_is_not_read(codec: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A gigabyte of zeros is a few kilobytes; each buffer says itself how large it will be."""
    table = table_of(torch.zeros(2, 1 << 14, 1 << 12, dtype=torch.float16)[:, :, :1].expand(2, 1 << 14, 512))
    write(table, tmp_path / "a.arrow", options=pa.ipc.IpcWriteOptions(compression=codec))
    assert (tmp_path / "a.arrow").stat().st_size < table.nbytes / 20
    before = pa.total_allocated_bytes()
    assert read_back(tmp_path / "a.arrow", 2, 1 << 14) is None
    assert pa.total_allocated_bytes() == before
    assert "does not hold activations of 32768 tokens" in caplog.text


def test_a_batch_longer_than_its_buffers_is_not_read(tmp_path: Path) -> None:
    """Reading it would run beyond the file's end."""
    path = tmp_path / "a.arrow"
    table = table_of(torch.randn(N, L, D))
    write_table(table, path)
    content, rows = path.read_bytes(), T.to_bytes(8, "little")
    assert content.count(rows) > 5
    for claim in (T + 1, 1 << 20, 1 << 40, 2**62, 2**63 - 1):
        path.write_bytes(content.replace(rows, claim.to_bytes(8, "little")))
        with little_memory():
            assert read_back(path) is None


def test_a_shard_of_anything_else_is_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, tokens_NL = tmp_path / "a.arrow", tokens_of()
    write_table(table_of(torch.randn(N, L, D)), path)
    assert read_table(path, "layers.2", "float16", tokens_NL) is not None
    assert not caplog.text
    for other in (("layers.3", "float16", tokens_NL), ("layers.2", "float32", tokens_NL),
                  ("layers.2", "float16", tokens_NL[::-1]), ("layers.2", "float16", tokens_NL[:1])):  # fmt: skip
        caplog.clear()
        assert read_table(path, *other) is None
        assert "is damaged and will be computed again" in caplog.text


def test_a_file_of_two_batches_or_none_is_no_shard(tmp_path: Path) -> None:
    table = table_of(torch.randn(N, L, D))
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=T // 2)
    write(table.slice(0, 0), tmp_path / "b.arrow")
    assert read_back(tmp_path / "a.arrow") is None
    assert read_back(tmp_path / "b.arrow") is None


def test_every_byte_around_the_values_counts(tmp_path: Path) -> None:
    """A schema that was changed in places has crashed Arrow itself."""
    path = tmp_path / "a.arrow"
    table = table_of(torch.randn(N, L, D))
    write_table(table, path)
    content = path.read_bytes()
    head, tail, size = frame(table.schema, T, pa.py_buffer(content))
    assert size == len(content)
    assert len(content) - len(head) - len(tail) >= table.nbytes - 8
    for at in (*range(0, len(head), 3), *range(size - len(tail), size, 3)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x41]) + content[at + 1 :])
        assert read_back(path) is None, at


def test_names_that_are_no_text_are_no_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    write_table(table_of(torch.randn(N, L, D)), path)
    content = path.read_bytes()
    for name in (b"activation", b"sequence_id", b"hookpoint", b"arrow.fixed_shape_tensor"):
        path.write_bytes(content.replace(name, b"\xff" * len(name)))
        table = read_back(path)
        assert table is None


@pytest.mark.parametrize("values", [[[0] * L] * N, [list(range(1, L + 1))] * N, [list(range(L))[::-1]] * N])
def test_a_shard_of_other_positions_is_computed_again(
    values: list[list[int]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Positions say which tokens are trained on: were all of them first ones, there would be none."""
    table = table_of(torch.randn(N, L, D))
    write(replaced(table, "position", pa.array(np.array(values, np.int32).reshape(-1))), tmp_path / "a.arrow")
    assert read_back(tmp_path / "a.arrow") is None
    assert "has other positions" in caplog.text


READ = """
import sys
from pathlib import Path
import torch
from orchestrator.activations.tables import write_table
from tests.support.tables import D, L, N, read_back, table_of

def kilobytes(name):
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name + ":")]
    return int(line.split()[1])

path, sequences, length = Path(sys.argv[1]), *map(int, sys.argv[2:])
small = path.with_name("small.arrow")
write_table(table_of(torch.randn(N, L, D)), small)
assert read_back(small) is not None
before = kilobytes("VmRSS")
table = read_back(path, sequences, length)
print(table is not None, kilobytes("VmHWM") - before)
"""
"""Prints whether a file is a shard, and by how many kilobytes reading it, after a small one, enlarged the process."""


def grown(path: Path, sequences: int, length: int) -> tuple[bool, int]:
    """Whether the file is a shard, and the bytes that reading it takes, those of the file that it touches included."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path), str(sequences), str(length)],
        capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    whole, kilobytes = done.stdout.split()
    return whole == "True", int(kilobytes) << 10


def test_reading_a_shard_takes_far_less_than_its_size(tmp_path: Path) -> None:
    path, length, width = tmp_path / "a.arrow", 512, 512
    write_table(table_of(torch.randn(1, 1, width, dtype=torch.float16).expand(128, length, width)), path)
    size = path.stat().st_size
    assert size > 64 << 20
    whole, taken = grown(path, 128, length)
    assert whole and taken < size / 2, f"{taken / size:.2f} times its size"


def test_a_width_that_a_file_only_says_costs_nothing(tmp_path: Path) -> None:
    """The file is as long as it says, and takes no room on the disk."""
    path, width = tmp_path / "a.arrow", 700_000
    write_table(table_of(torch.randn(N, L, D)), path)
    content = path.read_bytes().replace(b'"shape":[%d]' % D, b'"shape":[%d]' % width)
    path.write_bytes(content)
    size = T * (width * 2 + 20) + len(content)
    os.truncate(path, size)
    whole, taken = grown(path, N, L)
    assert not whole and taken < size / 2, f"{taken / size:.2f} times its size"
