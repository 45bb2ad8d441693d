"""Keys, tokens and paths of somebody's home in files under version control, and in all that ever was."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from maintenance.finding import Findings

PATTERNS = {
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----",
    "a token of the Hugging Face hub": r"\bhf_[A-Za-z]{34}\b",
    "a key of an LLM service": r"\bsk-(?:proj-|ant-|or-)?[A-Za-z0-9_-]*[A-Za-z0-9]{20,}",
    "a token of GitHub": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})",
    "a token of GitLab": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "a key of AWS": r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b",
    "a secret key of AWS": r"(?i:aws_secret_access_key)['\"]?\s*[:=]\s*['\"]?[A-Za-z0-9/+]{40}\b",
    "a key of Google": r"\bAIza[A-Za-z0-9_-]{35}\b",
    "a token of Slack": r"\bxox[abposr]-[A-Za-z0-9-]{20,}",
    "a token of a package index": r"\bpypi-AgE[A-Za-z0-9_-]{50,}",
    "a JSON web token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}",
    "a password in an address": r"://[A-Za-z0-9._%+-]{2,}:(?!pass)[A-Za-z0-9._%+-]{8,}@[A-Za-z0-9.-]+\.[a-z]{2,}",
    "somebody's home": r"(?<![\w.~}/])/(?:home|Users)/(?!user\b|you\b|me\b|runner\b|ubuntu\b|pursuit\b)[a-z][\w.-]*/",
    "the home of root": r"(?<![\w.~}/])/root/[\w.]",
}
"""What is looked for, narrow enough that what is found deserves a look."""
_ANY = re.compile("|".join(f"(?P<p{number}>{pattern})" for number, pattern in enumerate(PATTERNS.values())))
_KINDS = tuple(PATTERNS)


def secrets_in(text: str) -> Iterator[tuple[int, str]]:
    """Line number and kind of each; the secret itself is not repeated."""
    for number, line in enumerate(text.splitlines(), 1):
        for match in _ANY.finditer(line):
            yield number, _KINDS[int(str(match.lastgroup)[1:])]


def scan_files(root: Path) -> Findings:
    """Every tracked file as it is now."""
    found = Findings("secrets in files")
    names = _git(root, "ls-files", "-z").decode(errors="replace").split("\0")
    for name in filter(None, names):
        path = root / name
        if path.is_file() and not path.is_symlink():
            text = path.read_bytes().decode("utf-8", errors="replace")
            found.problems += [f"{name}:{line}: {kind}" for line, kind in secrets_in(text)]
    return found


def scan_history(root: Path) -> Findings:
    """Every line that any commit added, and what commits say of themselves."""
    found = Findings("secrets in the history")
    log = _git(root, "log", "--all", "--patch", "--unified=0", "--no-color", "--no-ext-diff", "--format=commit %h%n%B")
    commit = name = ""
    for raw in log.splitlines():
        line = raw.decode("utf-8", errors="replace")
        if line.startswith("commit "):
            commit, name = line.split()[1], "its message"
        elif line.startswith("+++ "):
            name = line[4:].removeprefix("b/")
        elif not line.startswith("-"):
            found.problems += [f"{commit} {name}: {kind}" for _, kind in secrets_in(line)]
    found.problems = list(dict.fromkeys(found.problems))
    return found


def _git(root: Path, *command: str) -> bytes:
    return subprocess.run(["git", *command], cwd=root, capture_output=True, check=True).stdout
