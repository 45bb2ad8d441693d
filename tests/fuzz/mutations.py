"""Files made worse: what a crash, a bad disk or a stranger may do to one. Both fuzzers use it and decide what is drawn.

`Draw(low, high)` gives a whole number from `low` to `high`, both included.
"""

import json
import struct
from collections.abc import Callable
from typing import Any

Draw = Callable[[int, int], int]

HUGE = (2**31 - 1, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1)
STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 0.5, 1e308, float("inf"), float("nan"), 10**9, 10**15, 2**63, 10**30, 10**400,
    "", "a", "1", "mp", "sst", "float32", "F64", "../../../outside", "/outside", "\0", "\n", "\ud800", "x" * 5000, [],
    {}, [[]], [1, 2], [10**15, 10**15], ["a"], {"a": {"b": []}}, [-1], [0, 0], [None],
)  # fmt: skip
"""What JSON may say where something else is expected."""
DEEP = (b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000)


def mutated(name: str, content: bytes, draw: Draw) -> bytes:
    """The content of file `name`, changed in one to three ways; now and then nothing of it is left."""
    for _ in range(draw(1, 3)):
        content = _once(name, content, draw)
    return content


def _once(name: str, content: bytes, draw: Draw) -> bytes:
    ways = [_flip, _cut, _insert, _remove, _repeat, _claim, _replace]
    if name.endswith((".json", ".jsonl")):
        ways += [_json] * 14
    if name.endswith(".safetensors"):
        ways += [_safetensors_header] * 14
    if name.endswith(".npy"):
        ways += [_npy_header] * 14
    return ways[draw(0, len(ways) - 1)](content, draw)


def _place(content: bytes, draw: Draw) -> int:
    """Somewhere in it; headers are at the beginning and the end, so more often there."""
    last = max(len(content) - 1, 0)
    near = min(last, 400)
    return (draw(0, last), draw(0, near), last - draw(0, near))[draw(0, 2)]


def _flip(content: bytes, draw: Draw) -> bytes:
    at = _place(content, draw)
    return content[:at] + bytes([draw(0, 255)]) + content[at + 1 :]


def _cut(content: bytes, draw: Draw) -> bytes:
    return content[: _place(content, draw)]


def _insert(content: bytes, draw: Draw) -> bytes:
    at = _place(content, draw)
    return content[:at] + bytes(draw(0, 255) for _ in range(draw(1, 8))) + content[at:]


def _remove(content: bytes, draw: Draw) -> bytes:
    at = _place(content, draw)
    return content[:at] + content[at + draw(1, 64) :]


def _repeat(content: bytes, draw: Draw) -> bytes:
    at = _place(content, draw)
    return content[:at] + content[at : at + draw(1, 64)] * draw(2, 40) + content[at:]


def _claim(content: bytes, draw: Draw) -> bytes:
    """A huge number in place of some bytes: a size, an offset, a count."""
    at, size = _place(content, draw), (4, 8)[draw(0, 1)]
    number = HUGE[draw(0, len(HUGE) - 1)] & (256**size - 1)
    return content[:at] + number.to_bytes(size, "little") + content[at + size :]


def _replace(content: bytes, draw: Draw) -> bytes:
    """Anything else at all."""
    kind = draw(0, 4)
    if kind < len(DEEP):
        return DEEP[kind]
    return bytes(draw(0, 255) for _ in range(draw(0, 40)))


def _json(content: bytes, draw: Draw) -> bytes:
    """Something in one of the lines of JSON is replaced, removed or added."""
    lines = content.split(b"\n") if content.count(b"\n}") == 0 else [content]
    at = draw(0, len(lines) - 1)
    try:
        value = json.loads(lines[at])
    except (ValueError, RecursionError):
        return _flip(content, draw)
    lines[at] = json.dumps(_changed(value, draw), ensure_ascii=draw(0, 1) == 0).encode(errors="surrogatepass")
    return b"\n".join(lines)


def _changed(value: Any, draw: Draw) -> Any:
    """The value, or something deep inside it, replaced."""
    if isinstance(value, dict | list) and value and draw(0, 5):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = keys[draw(0, len(keys) - 1)]
        if isinstance(value, dict) and draw(0, 7) == 0:
            return {name: item for name, item in value.items() if name != key}
        if isinstance(value, dict) and draw(0, 7) == 0:
            return value | {("a", "", "../a", "cursor", "W_dec")[draw(0, 4)]: STRANGE[draw(0, len(STRANGE) - 1)]}
        changed: Any = dict(value) if isinstance(value, dict) else list(value)
        changed[key] = _changed(value[key], draw)
        return changed
    return STRANGE[draw(0, len(STRANGE) - 1)]


def _safetensors_header(content: bytes, draw: Draw) -> bytes:
    """Its JSON changed, with the length before it made to fit."""
    try:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
    except (struct.error, ValueError, RecursionError, OverflowError):
        return _flip(content, draw)
    text = json.dumps(_changed(header, draw)).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def _npy_header(content: bytes, draw: Draw) -> bytes:
    """Another header in its place, well formed or not."""
    descr = ("<i4", "<i8", ">i4", "|O", "<f4", "V1000000000", "|S0", "<U9", "no", [("a", "|O")], None)[draw(0, 10)]
    shape = ((10**15, 32), (2**62, 2), (-1, 32), (), (32,), (10**30,), (0, 0), (1, 2, 3), ("a",), 7)[draw(0, 9)]
    said = {"descr": descr, "fortran_order": (False, True, None)[draw(0, 2)], "shape": shape}
    text = (repr(said), "-" * 9000 + "1", "(" * 5000, "", "{'descr': '<i4'}", repr(said)[:-3])[draw(0, 5)].encode()
    padded = text + b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded + content[128:]
