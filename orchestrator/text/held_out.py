"""Which documents are held out for validation: a document's side follows from its text alone."""

import hashlib

_MIN_SHARE = 0.02  # of documents to the smaller side, so that a few hundred documents hold some of it


def held_out_share(ratio: float) -> float:
    """Share of documents to hold out so that they fill the part `ratio` of all tokens asked for."""
    # A little more than its part to validation: documents differ in length, and the small side should not fill last.
    return min(max(ratio + 0.25 * ratio * (1 - ratio), _MIN_SHARE), 1 - _MIN_SHARE) if ratio else 0.0


def is_held_out(text: str, share: float) -> bool:
    """Whether a document is held out: the same text always is, or never, whatever stands beside it."""
    # Where in [0, 1) a text falls, evenly and for good.
    place = int.from_bytes(hashlib.sha256(text.encode(errors="replace")).digest()[:8]) / 2**64
    return place < share
