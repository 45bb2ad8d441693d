"""Names made of what a user gave, fit for the file systems that have to take them."""

import hashlib
import re

MAX_BYTES = 255
"""What file systems take for one name."""


def plain(text: str) -> str:
    """The text in letters, digits, dots and dashes; anything else becomes an underscore."""
    return re.sub(r"[^\w.-]+", "_", text)


def digest(text: str) -> str:
    """Eight hexadecimal digits that tell this text from others."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def cut(name: str) -> str:
    """The name, or as much of its beginning as fits, with a digest of the whole."""
    encoded = name.encode()
    if len(encoded) <= MAX_BYTES:
        return name
    return encoded[: MAX_BYTES - 9].decode(errors="ignore") + f"-{digest(name)}"


def shortened(name: str, limit: int) -> str:
    """For a person: the middle of a name of more than `limit` letters cut out."""
    return name if len(name) <= limit else f"{name[: limit // 2 - 1]}…{name[-limit // 2 :]}"
