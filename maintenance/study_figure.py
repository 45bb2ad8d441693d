"""Draw two figures of docs/study.md from sweeps of sweeps/study_bias.py: beside what the post says, and over the mean.

python -m maintenance.study_figure NAME [NAME ...] --storage runs --out docs/images
"""

import argparse
from dataclasses import replace
from pathlib import Path

from orchestrator.figures.colours import looks_of
from orchestrator.figures.data import fvu_against_k, fvu_against_mean
from orchestrator.figures.png import write_png
from orchestrator.tracking.addresses import default_uri
from orchestrator.tracking.reader import read_sweeps

POST = {
    "residual": "post: mp higher at k 16, 32,\nno higher from 64",
    "mlp": "post: mp lower at every k",
}


def main() -> None:
    """Read the sweeps from MLflow and write `study_bias.png` and `study_bias_mean.png`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="+", help="name of a sweep, or the id of its run")
    parser.add_argument("--storage", type=Path, default=Path("runs"), help="directory with MLflow's store (runs)")
    parser.add_argument("--out", type=Path, required=True, help="directory to write to")
    given = parser.parse_args()
    sweeps = read_sweeps(default_uri(given.storage), tuple(given.run))
    records = tuple(record for sweep in sweeps for record in sweep.records)
    looks = looks_of(record.variant for record in records)
    against_k, against_mean = fvu_against_k(records, looks), fvu_against_mean(records, looks)
    if against_k is None or against_mean is None:
        parser.error(f"{' '.join(given.run)}: no trial has finished, all have one k, or there are too few hookpoints")
    panels = tuple(
        replace(panel, title=f"{panel.title}\n{POST['mlp' if '.mlp' in panel.title else 'residual']}")
        for panel in against_k.panels
    )
    title = "Held-out FVU against k, and what the post says"
    write_png(replace(against_k, title=title, panels=panels), given.out / "study_bias.png")
    write_png(against_mean, given.out / "study_bias_mean.png")


if __name__ == "__main__":
    main()
