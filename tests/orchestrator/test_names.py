"""Names that file systems take."""

from pathlib import Path

import pytest

from orchestrator.names import MAX_BYTES, cut


@pytest.mark.parametrize("letter", ["x", "é", "語", "😀"])
@pytest.mark.parametrize("length", [1, 60, 63, 64, 127, 128, 255, 256, 5000])
def test_a_name_is_cut_to_what_a_directory_takes(letter: str, length: int, tmp_path: Path) -> None:
    name = letter * length
    short = cut(name)
    (tmp_path / short).mkdir()
    assert len(short.encode()) <= MAX_BYTES
    assert (short == name) == (len(name.encode()) <= MAX_BYTES)
    assert cut(name + "a") != cut(name + "b")
