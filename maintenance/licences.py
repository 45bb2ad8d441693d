"""Licences of what the lock pins, from the metadata of what is installed: a name on the list, or a line of its own."""

import re
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from maintenance.finding import Findings
from maintenance.lock import locked

ALLOWED = frozenset({
    "0bsd", "apache", "apache 2.0", "apache-2.0", "apache software", "apache-2.0 with llvm-exception", "blueoak-1.0.0",
    "bsd", "2-clause bsd", "3-clause bsd", "bsd 2-clause", "bsd 3-clause", "bsd-2-clause", "bsd-3-clause", "bsl-1.0",
    "cc0-1.0", "cnri-python", "hpnd", "isc", "mit", "mit-0", "mit-cmu", "public domain", "psf-2.0", "python-2.0",
    "python software foundation", "unlicense", "the unlicense", "zlib",
    "mpl-2.0", "mozilla public 2.0", "lgpl-2.1", "lgpl-2.1-only", "lgpl-2.1-or-later", "lgpl-3.0", "lgpl-3.0-only",
    "lgpl-3.0-or-later", "gnu lesser general public v2 or later", "gnu lesser general public v3",
    "gnu lesser general public v3 or later", "gnu library or lesser general public",
})  # fmt: skip
"""Permissive licences, and those that bind their own files alone; in lower case, without the word licence."""
JUDGED: Mapping[str, str] = {"eai-delphi": "Apache-2.0", "huey": "MIT", "skops": "MIT"}
"""Packages whose metadata names no licence, and what the file LICENSE in them is."""
_NOISE = re.compile(r"\blicen[cs]e\b|\((?:mpl 2\.0|iscl|lgpl\S*|mit)\)", re.IGNORECASE)
Metadata = Callable[[str], Any]
"""From a name what `importlib.metadata.metadata` gives: an e-mail message, whose type hides that it is one."""


def licences(lock: Path, metadata_of: Metadata = metadata.metadata) -> Findings:
    """A problem for each package whose licence is not on the list; a note for each that is not installed here."""
    found = Findings("licences")
    for name in locked(lock):
        try:
            said = JUDGED.get(name) or said_of(metadata_of(name))
        except metadata.PackageNotFoundError:
            found.notes.append(f"{name}: not installed here, so its licence is not known")
            continue
        if not is_allowed(said):
            found.problems.append(
                f"{name}: licence {said[:60] or 'unknown'!r} is not on the list of maintenance/licences.py"
            )
    return found


def said_of(package: Any) -> str:
    """What a package says of its licence, in SPDX's words where it has them."""
    if expression := package.get("License-Expression"):
        return str(expression)
    kinds = [text.rpartition("::")[2].strip() for text in package.get_all("Classifier") or () if "License ::" in text]
    if kinds := [kind for kind in kinds if kind not in ("OSI Approved", "DFSG approved")]:
        return " AND ".join(kinds)
    first = next((line.strip() for line in str(package.get("License") or "").splitlines() if line.strip(" =")), "")
    return first


def is_allowed(said: str) -> bool:
    """Whether all licences that must be kept are on the list, of those there is a choice of one; brackets aside."""
    plain = _NOISE.sub(" ", said)
    if "(" in plain:  # every word must be on the list then, which is stricter than needed
        plain = plain.replace("(", " ").replace(")", " ").replace(" OR ", " AND ")
    choices = re.split(r"\s+OR\s+", plain)
    return any(all(map(_is_on_the_list, re.split(r"\s+AND\s+|,", choice))) for choice in choices)


def _is_on_the_list(name: str) -> bool:
    return " ".join(name.lower().split()) in ALLOWED
