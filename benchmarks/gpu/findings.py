"""What the kit found, written down the moment it is known: a line of JSON each, and one page made of all of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LINES, PAGE = "findings.jsonl", "summary.md"
Finding = dict[str, Any]


def note(out: Path, stage: str, **finding: Any) -> None:
    """Append a finding of a stage; one write, since stages are processes of their own."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / LINES).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"stage": stage, **finding}) + "\n")
    print(f"{stage}: " + ", ".join(f"{key} {_text(value)}" for key, value in finding.items()), flush=True)


def read(out: Path) -> list[Finding]:
    """All so far; the line that a killed stage left unfinished is none."""
    if not (out / LINES).is_file():
        return []
    found = []
    for line in (out / LINES).read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            found.append({"stage": "torn"})
    return found


def write_page(out: Path) -> None:
    """A table for each stage, whose columns are what its findings name."""
    stages: dict[str, list[Finding]] = {}
    for finding in read(out):
        stages.setdefault(finding.pop("stage"), []).append(finding)
    parts = ["# What the GPU kit found"]
    parts += [f"## {stage}\n\n{_tables(found)}" for stage, found in stages.items()]
    (out / PAGE).write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _tables(found: Sequence[Finding]) -> str:
    """Findings with equal names stand in one table."""
    by_columns: dict[tuple[str, ...], list[Finding]] = {}
    for finding in found:
        by_columns.setdefault(tuple(finding), []).append(finding)
    return "\n\n".join(_table(columns, rows) for columns, rows in by_columns.items())


def _table(columns: Sequence[str], rows: Sequence[Finding]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "| " + " | ".join("---" for _ in columns) + " |"]
    lines += ["| " + " | ".join(_text(row[column]).replace("|", "\\|") for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
