"""All checks, in one go: `python -m maintenance.audit [--history]`; exits with 1 where any of them found a problem."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from maintenance.finding import Findings
from maintenance.licences import licences
from maintenance.secret_scan import scan_files, scan_history
from maintenance.vulnerabilities import vulnerabilities

ROOT = Path(__file__).resolve().parents[1]


def audit(root: Path, *, history: bool) -> list[Findings]:
    """What each check finds in a checkout."""
    lock = root / "requirements.lock"
    found = [vulnerabilities(lock), licences(lock), scan_files(root)]
    return [*found, scan_history(root)] if history else found


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each finding and one for each check that found none."""
    parser = argparse.ArgumentParser(prog="python -m maintenance.audit", description=__doc__)
    parser.add_argument("--history", action="store_true", help="look for secrets in all that was ever committed too")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout to look at")
    given = parser.parse_args(argv)
    outcome = audit(given.root, history=given.history)
    for found in outcome:
        lines = [*found.problems, *found.notes] or ["nothing found"]
        sys.stdout.write("".join(f"{found.check}: {line}\n" for line in lines))
    return 1 if any(found.problems for found in outcome) else 0


if __name__ == "__main__":
    sys.exit(main())
