"""What the pages for the next person say, held against the code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import LIMIT_SECONDS

ROOT = Path(__file__).resolve().parent.parent
WHERE = (ROOT / "docs" / "where.md").read_text(encoding="utf-8")
EXTENDING = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^## (.+?)$.*?```diff\n(.*?)```.*?```sh\n(.*?)\n```", EXTENDING, re.DOTALL | re.MULTILINE)


def test_every_place_named_is_there() -> None:
    rows = re.findall(r"^\| (.+) \| `(.+)` \|$", WHERE, re.MULTILINE)
    assert len(rows) >= 30
    assert [place for _, place in rows if not (ROOT / place).exists()] == []
    assert len({what for what, _ in rows}) == len(rows)


def test_every_promise_about_input_is_held_by_a_test_that_is_there() -> None:
    promises = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "input.md").read_text(encoding="utf-8"))
    assert len(promises) >= 40
    assert [
        f"{file}::{name}"
        for file, name in promises
        if not re.search(rf'^def {name}\(|"{name}', (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    ] == []


@pytest.mark.sweep
@pytest.mark.parametrize(("change", "command"), [example[1:] for example in EXAMPLES], ids=[e[0] for e in EXAMPLES])
def test_an_example_of_extending_works(change: str, command: str, tmp_path: Path) -> None:
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listing.stdout.split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    applied = subprocess.run(
        ["git", "apply", "--unidiff-zero", "-"], cwd=tmp_path, input=change, capture_output=True, text=True, check=False
    )
    assert applied.returncode == 0, applied.stderr
    python = f"PYTHONPATH=. '{sys.executable}'"
    result = subprocess.run(
        re.sub("^python", python, command), shell=True, cwd=tmp_path, capture_output=True, text=True,
        timeout=LIMIT_SECONDS, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.strip()


def test_every_section_of_extending_is_an_example() -> None:
    assert [example[0] for example in EXAMPLES] == re.findall(r"^## (.+)$", EXTENDING, re.MULTILINE)
    assert len(EXAMPLES) == 4
