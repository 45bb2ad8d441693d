"""Which releases of MLflow a sweep can be told to: `python -m maintenance.mlflow_releases 3.10.1 3.17.2`.

Of each, a server is installed by pip into a virtual environment of its own, told a small sweep, by the library that is
installed here or with --own-client by that of the server, and shown in Chromium. Prints a Markdown table; exits with 1
where any of it did not work. Some minutes for each.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from orchestrator.grid.config import AXES
from orchestrator.tracking.views import SINCE
from tests.support.browser import texts
from tests.support.mlflow_server import Server
from tests.support.records import TRIALS
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = {"Who wins": 3, "Training": 2, "Cost": 2}
"""Charts of the saved view in each of its sections."""
HEAD = "| server | client | entries delivered | link | shown |\n|---|---|---|---|---|\n"


@dataclass(frozen=True)
class Row:
    """What one server and one client made of a sweep."""

    server: str
    client: str
    delivered: str
    link: str
    shown: str
    works: bool

    def markdown(self) -> str:
        """A row of the table."""
        return f"| {self.server} | {self.client} | {self.delivered} | {self.link} | {self.shown} |\n"


def tried(release: str, python: str, libraries: Path | None, directory: Path) -> Row:
    """Start the server that `python` has, tell it a sweep and look at it; `directory` is empty, and is for all of that.

    `libraries` is a directory whose packages go before those installed here.
    """
    server = Server(directory, python)
    server.start()
    try:
        wait_until(server.answers, f"MLflow {release}")
        said, complaint = _told(server.uri, libraries, directory)
        if not said:
            return Row(release, f"fails: {complaint}", "none", "none", "nothing", works=False)
        page = texts(said["url"], directory / "browser")
    finally:
        server.kill()
    sent = said["entries"] - said["left"]
    complete = not said["left"] and said["same"] and not complaint
    reason = complaint or ("" if said["same"] else "read back, they differ")
    delivered = f"{sent} of {said['entries']}" + (f": {reason}" if reason else "")
    saved = "viewStateShareKey=" in said["url"]
    as_expected = saved == (tuple(int(part) for part in release.split(".")[:2]) >= SINCE)
    link = "saved view" if saved else "plain comparison"
    shown, seen = _shown(page, saved)
    return Row(release, said["client"], delivered, link, shown, works=complete and as_expected and seen)


def _told(uri: str, libraries: Path | None, directory: Path) -> tuple[dict[str, Any], str]:
    """What the client says, nothing where it fails; and its first complaint."""
    path = os.pathsep.join(str(place) for place in (libraries, ROOT) if place)
    done = subprocess.run(
        [sys.executable, "-m", "maintenance.mlflow_client", uri, str(directory)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        return {}, done.stderr.strip().splitlines()[-1]
    complaints = [line for line in done.stderr.splitlines() if line.startswith(("MLflow ", "dropping ", "skipping "))]
    return json.loads(done.stdout.splitlines()[-1]), complaints[0] if complaints else ""


def _shown(page: Sequence[str], saved: bool) -> tuple[str, bool]:
    """What is on the page, and whether that is all there should be."""
    trials = len(set(TRIALS) & set(page))
    if not saved:
        axes = len(set(AXES) & set(page))
        return f"{trials} trials, {axes} of their axes", (trials, axes) == (len(TRIALS), len(AXES))
    sections = [name for name, charts in SECTIONS.items() if f"{name} ({charts})" in _pairs(page)]
    return f"{trials} trials, {len(sections)} sections", (trials, len(sections)) == (len(TRIALS), len(SECTIONS))


def _pairs(page: Sequence[str]) -> set[str]:
    return {f"{text} {following}" for text, following in pairwise(page)}


@contextmanager
def _installed(release: str, work: Path) -> Iterator[tuple[str, Path]]:
    """The Python that has this release, and its MLflow alone as a directory; both are gone afterwards."""
    place = work / f"mlflow-{release}"
    try:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place / "venv")], check=True)
        python = str(place / "venv" / "bin" / "python")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
        subprocess.run([*pip, "install", "--quiet", "--no-compile", f"mlflow=={release}"], check=True)
        (packages,) = place.glob("venv/lib/python*/site-packages")
        libraries = place / "libraries"
        libraries.mkdir()
        for package in packages.glob("mlflow*"):
            (libraries / package.name).symlink_to(package)
        yield python, libraries
    finally:
        shutil.rmtree(place, ignore_errors=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, a row as soon as it is known."""
    parser = argparse.ArgumentParser(prog="python -m maintenance.mlflow_releases", description=__doc__)
    parser.add_argument("releases", nargs="+", help="such as 3.17.2")
    parser.add_argument("--own-client", action="store_true", help="tell each server by its own release of the library")
    given = parser.parse_args(argv)
    rows = []
    sys.stdout.write(HEAD)
    with tempfile.TemporaryDirectory(prefix="mlflow-releases-") as work:
        for release in given.releases:
            with _installed(release, Path(work)) as (python, libraries):
                directory = Path(tempfile.mkdtemp(dir=work))
                rows.append(tried(release, python, libraries if given.own_client else None, directory))
                sys.stdout.write(rows[-1].markdown())
                sys.stdout.flush()
    return 0 if all(row.works for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
