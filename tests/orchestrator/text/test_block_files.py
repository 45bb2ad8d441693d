"""Token files that somebody else wrote: only blocks of tokens are taken for such, and nothing is evaluated."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.errors import UserError
from orchestrator.text.block_files import read_blocks
from orchestrator.text.token_blocks import open_blocks
from tests.fuzz.limits import little_memory

BLOCKS_NL = np.arange(160, dtype=np.int32).reshape(10, 16)


class Trap:
    """Unpickled, it leaves a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize("shape", [(10, 16), (1, 1), (0, 16)])
def test_blocks_come_back_mapped(shape: tuple[int, int], tmp_path: Path) -> None:
    blocks_NL = BLOCKS_NL.reshape(-1)[: shape[0] * shape[1]].reshape(shape)
    np.save(tmp_path / "a.npy", blocks_NL)
    found = read_blocks(tmp_path / "a.npy")
    assert isinstance(found, np.memmap)
    assert (found.dtype, found.shape) == (np.int32, shape)
    assert np.array_equal(found, blocks_NL)
    assert not found.flags.writeable


@pytest.mark.parametrize(
    "other",
    [BLOCKS_NL.astype(np.int64), BLOCKS_NL.astype(">i4"), BLOCKS_NL.astype(np.float32), BLOCKS_NL[0], BLOCKS_NL.T,
     BLOCKS_NL.reshape(2, 5, 16), np.array([["a"]]), np.zeros((2, 2), [("a", "<i4")])],
    ids=["int64", "big-endian", "float32", "1-D", "Fortran", "3-D", "texts", "records"],
)  # fmt: skip
def test_other_arrays_are_no_blocks(other: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", other)
    with pytest.raises(ValueError, match=r"^a\.npy holds no blocks of tokens$"):
        read_blocks(tmp_path / "a.npy")


def test_a_pickle_is_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([Trap(str(tmp_path / "sprung"))], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"^a\.npy holds no blocks of tokens$"):
        read_blocks(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "b.npy", "w") as archive:
        archive.writestr("a.npy", (tmp_path / "a.npy").read_bytes())
    with pytest.raises(ValueError, match=r"^b\.npy is cut short, or no NumPy file$"):
        read_blocks(tmp_path / "b.npy")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("shape", ["(10000000000000, 16)", "(999999999999999, 999999999999999)", "(9, 16)"])
def test_a_shape_that_is_not_the_files_takes_no_memory(shape: str, tmp_path: Path) -> None:
    saved = io.BytesIO()
    np.save(saved, BLOCKS_NL)
    header = saved.getvalue().replace(b"(10, 16)", shape.encode())
    assert len(header) != len(saved.getvalue()) or b"(9, 16)" in header
    grown = len(header) - len(saved.getvalue())
    (tmp_path / "a.npy").write_bytes(header[:8] + (118 + grown).to_bytes(2, "little") + header[10:])
    with little_memory(), pytest.raises(ValueError, match=r"^a\.npy has \d+ bytes, not those of \d+ blocks of \d+ tok"):
        read_blocks(tmp_path / "a.npy")


def test_blocks_of_another_request_are_damaged(tmp_path: Path) -> None:
    for name in ("train", "val"):
        np.save(tmp_path / f"{name}.npy", BLOCKS_NL)
    said = {"fingerprint": "f", "n_documents": 3}
    (tmp_path / "tokens.json").write_text(json.dumps(said), encoding="utf-8")
    assert open_blocks(tmp_path, {"train": 10, "val": 10}, 16).n_documents == 3
    for blocks, length in (({"train": 9, "val": 10}, 16), ({"train": 10, "val": 11}, 16), ({"train": 10}, 32)):
        with pytest.raises(UserError, match=r"its blocks are damaged \(\w+\.npy has 10 x 16 tokens\); remove "):
            open_blocks(tmp_path, blocks, length)
    for wrong in ({}, {"fingerprint": 3}, {"fingerprint": "f", "n_documents": "3"}):
        (tmp_path / "tokens.json").write_text(json.dumps({"a": 1} | wrong), encoding="utf-8")
        with pytest.raises(UserError, match=r"tokens\.json: is damaged \(it has no fingerprint or no n_documents\)"):
            open_blocks(tmp_path, {"train": 10, "val": 10}, 16)
