"""The command that draws figures again from MLflow."""

import re
import shutil
from pathlib import Path

import pytest

from orchestrator.figures import command
from orchestrator.tracking.addresses import default_uri
from orchestrator.tracking.reader import read_sweep
from orchestrator.tracking.tracker import Tracker
from tests.support.records import SWEEP, grid, log_sweep, log_trials

AXES = {"variant": ("topk", "mp"), "k": (16, 32), "seed": (0, 1)}


def test_the_command_draws_the_newest_sweep_of_a_name_from_mlflow_alone(
    storage: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log_sweep(storage, journal="old")
    log_sweep(storage, journal="new")
    for journal in ("old", "new"):
        shutil.rmtree(storage / journal)
    shutil.rmtree(storage / "mlartifacts", ignore_errors=True)
    monkeypatch.chdir(storage)
    newest = read_sweep(default_uri(storage), SWEEP)
    assert newest.namesakes == 1
    for _ in range(2):  # drawing again replaces the files
        assert command.main([SWEEP, "--storage", str(storage)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"sweep {SWEEP}, run {newest.run_id}, the newest of 2 with this name"
    directory = Path("figures") / f"night_s_run-{newest.run_id[:8]}"
    assert lines[1] == str(directory / "figures.html")
    assert {path.name for path in directory.iterdir()} == {"figures.html", "dead_and_fvu.png", "fvu_by_variant.png"}
    assert command.main([newest.run_id, "--storage", str(storage), "--out", "here"]) == 0
    assert Path("here/figures.html").read_bytes() == (directory / "figures.html").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nothing"], r"run 'nothing': MLflow has no sweep of this name and no parent run with this id"),
        (['it\'s "it"'], r"run .*: MLflow has no sweep"),
        (["0" * 32], r"run '0{32}': MLflow has no sweep"),
        ([], r"run: is missing; --help says what it is"),
        ([""], r"run '': is empty; give a value$"),
        (["night", "day"], r"run 'night': MLflow has no sweep of this name"),
        (["night day"], r"run 'night day': MLflow has no sweep of this name .*, and none called 'night'$"),
        (["--run", "night"], r"run: is given without --run, as a word of its own"),
        (["night", "--output", "here"], r"--output: no such flag; did you mean --out\?"),
        (["night", "--out", "a", "--out", "b"], r"out: given twice, as --out a and as --out b; give it once"),
        (["night", "--Tracking-URI", "x"], r"--Tracking-URI: no such flag; did you mean --tracking-uri\?"),
        (["nothing", "--storage", "/nowhere"], r"run 'nothing': there is no MLflow store /nowhere/mlflow.db"),
        (["nothing", "--tracking-uri", "http://u:secret@127.0.0.1:9"], r"tracking_uri 'http://127.0.0.1:9': .*"),
        (["nothing", "--tracking-uri", "sqlite:///{storage}/notes.txt"], r"tracking_uri 'sqlite:.*': .*"),
        (["nothing", "--tracking-uri", "gopher://host"], r"tracking_uri 'gopher://host': .*"),
    ],
    ids=lambda value: " ".join(value) or "none" if isinstance(value, list) else "",
)
def test_what_cannot_be_drawn_is_one_line(
    arguments: list[str], expected: str, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (storage / "notes.txt").write_text("no database\n" * 1000, encoding="utf-8")
    given = [argument.replace("{storage}", str(storage)) for argument in arguments]
    assert command.main([*given, *([] if "--storage" in given else ["--storage", str(storage)])]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert re.match(f"error: {expected}", errors[0])
    assert "secret" not in errors[0]


def test_a_sweep_without_a_finished_trial_is_one_line(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracker = Tracker(None, "grid", "young", storage, storage / "journal")
    tracker.start_sweep({"variant": ("mp",)}, {}, {})
    tracker.start_trial("mp", {"k": 4}, {})
    tracker.finish()
    assert command.main(["young", "--storage", str(storage), "--out", str(storage / "out")]) == 2
    assert capsys.readouterr().err == "error: run 'young': no trial has finished, so there is nothing to draw\n"
    assert not (storage / "out").exists()


def test_several_sweeps_are_drawn_together_and_told_apart(
    storage: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(storage)
    for name in ("a b", "c"):
        log_trials(storage, name, grid(**AXES))
    ids = [read_sweep(default_uri(storage), name).run_id for name in ("a b", "c")]
    for words in (["a b", "c"], [f"{ids[0]} c"]):
        assert command.main([*words, "--storage", str(storage)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[:2] == [f"sweep a b, run {ids[0]}", f"sweep c, run {ids[1]}"]
        page = Path(lines[2])
        assert page.parent == Path("figures") / f"a_b-{ids[0][:8]}-c-{ids[1][:8]}"
        drawn = page.read_text(encoding="utf-8")
        assert all(f'"{variant} ({sweep})"' in drawn for variant in ("topk", "mp") for sweep in ("a b", "c"))
        assert "<title>a b and c</title>" in drawn
    assert command.main(["c", f"{ids[1]}", "--storage", str(storage)]) == 2
    assert capsys.readouterr().err == f"error: run '{ids[1]}': is named twice; give each sweep once\n"
