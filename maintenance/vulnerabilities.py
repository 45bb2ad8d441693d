"""Known vulnerabilities of what the lock pins, as pip-audit knows them; it needs a network, and may not be there."""

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from maintenance.finding import Findings

SECONDS = 300
PIP_AUDIT = (sys.executable, "-m", "pip_audit")


def vulnerabilities(lock: Path, command: Sequence[str] = PIP_AUDIT) -> Findings:
    """A problem for each known vulnerability; a note where nobody could be asked."""
    found = Findings("vulnerabilities")
    if command == PIP_AUDIT and find_spec("pip_audit") is None:
        found.notes.append("not asked: pip-audit is not installed (pip install pip-audit)")
        return found
    options = [
        "--requirement",
        str(lock),
        "--no-deps",
        "--disable-pip",
        "--format",
        "json",
        "--progress-spinner",
        "off",
    ]
    try:
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL
        )
        packages = json.loads(done.stdout)["dependencies"]
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired) as error:
        why = f"{SECONDS} s passed" if isinstance(error, subprocess.TimeoutExpired) else _last_line(error, locals())
        found.notes.append(f"not asked: pip-audit has no answer, perhaps without a network ({why})")
        return found
    if skipped := sum("skip_reason" in package for package in packages):
        found.notes.append(
            f"not asked: {skipped} of {len(packages)} packages are unknown where pip-audit looks for them"
        )
    for package in packages:
        for known in package.get("vulns", []):
            fixed = ", ".join(known.get("fix_versions", [])) or "no version yet"
            found.problems.append(f"{package['name']} {package['version']}: {known['id']}; fixed in {fixed}")
    return found


def _last_line(error: Exception, names: dict[str, object]) -> str:
    """The last that pip-audit said, or the error of this program where it said nothing."""
    done = names.get("done")
    said = done.stderr.strip().splitlines() if isinstance(done, subprocess.CompletedProcess) else []
    return (said[-1] if said else str(error))[:120]
