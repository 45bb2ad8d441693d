"""Files of token blocks, mapped without believing what they say: the header is matched, not evaluated.

Shape suffixes: N blocks, L positions.
"""

import re
from pathlib import Path

import numpy as np

_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(rb"\{'descr': '<i4', 'fortran_order': False, 'shape': \((\d{1,15}), (\d{1,15})\), \} *\n")


def read_blocks(path: Path) -> np.ndarray:
    """The blocks of a `.npy` file, int32 [N, L], mapped. Raises ValueError for any other file than of such blocks."""
    with path.open("rb") as file:
        start = file.read(len(_MAGIC) + 2)
        if start[: len(_MAGIC)] != _MAGIC or len(start) < len(_MAGIC) + 2:
            raise ValueError(f"{path.name} is cut short, or no NumPy file")
        offset = len(start) + int.from_bytes(start[len(_MAGIC) :], "little")
        said = _HEADER.fullmatch(file.read(offset - len(start)))
    if said is None:
        raise ValueError(f"{path.name} holds no blocks of tokens")
    shape_NL = int(said[1]), int(said[2])
    size = path.stat().st_size
    if size != offset + 4 * shape_NL[0] * shape_NL[1]:
        raise ValueError(f"{path.name} has {size} bytes, not those of {shape_NL[0]} blocks of {shape_NL[1]} tokens")
    return np.memmap(path, np.dtype("<i4"), "r", offset, shape_NL)
