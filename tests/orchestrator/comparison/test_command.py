"""The command that puts sweeps beside each other, over real stores of MLflow."""

import io
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pandas
import pytest

from orchestrator.comparison.as_latex import escaped
from orchestrator.comparison.command import main
from orchestrator.grid.config import AXES
from orchestrator.tracking.addresses import default_uri
from orchestrator.tracking.reader import read_sweep
from orchestrator.tracking.records import TrialRecord
from tests.support.markdown import rows
from tests.support.records import SWEEP, grid, log_sweep, log_trials

FVU = "val/fvu"
CE = "model_performance_preservation/ce_loss_score"
SCORED = {CE: 0.9, "autointerp/fuzz/mean": 0.7, "autointerp/fuzz/n": 40.0, "l0": 16.0}
SETTINGS = {"lr": "0.001", "train_tokens": "100", "tokens.fingerprint": "a" * 32, "model.fingerprint": "m" * 32}
COLUMNS = {"variant": ("topk", "mp"), "seed": (0, 1, 2)}


def trials(
    shift: float = 0.0, metrics: Mapping[str, float] = MappingProxyType({}), **settings: str
) -> list[TrialRecord]:
    """Two variants and three seeds; `shift` more FVU, which differs a little from seed to seed."""
    return [
        replace(
            record,
            metrics={**record.metrics, FVU: record.metrics[FVU] + shift * (1 + record.seed / 100), **metrics},
            settings=SETTINGS | settings,
        )
        for record in grid(**COLUMNS)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """A store with sweeps of every kind."""
    storage = tmp_path_factory.mktemp("compared")
    shutil.copy(empty_store, storage / "mlflow.db")
    log_trials(storage, "slow", trials(metrics=SCORED))
    log_trials(storage, "fast & 50% $_{x}", trials(-0.05, lr="0.003"))
    log_trials(storage, "longer", trials(-0.04, train_tokens="200", **{"tokens.fingerprint": "b" * 32}))
    log_trials(storage, "slow again", trials(scores="none"))
    log_trials(storage, "transcoders", [replace(record, variant="sst") for record in trials()])
    failed = [replace(t, metrics={}) if t.variant == "mp" and t.seed else t for t in trials(lr="1")]
    log_trials(storage, "failing", failed)
    log_trials(storage, "dead", [replace(record, metrics={}) for record in trials()])
    tags = {f"{what}.m/a": SETTINGS[what] for what in ("tokens.fingerprint", "model.fingerprint")}
    old = [replace(record, settings={}) for record in trials(0.01)]
    log_trials(storage, "old", old, {"lr": "0.002", "train_tokens": "100", "name": "old"}, tags)
    log_sweep(storage)
    return storage


@pytest.fixture
def said(kept: Path, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """What the command writes about sweeps."""

    def command(*words: str) -> str:
        assert main([*words, "--storage", str(kept)]) == 0
        written, errors = capsys.readouterr()
        assert errors == ""
        return written

    return command


FAST = "fast & 50% $_{x}"


def test_two_learning_rates_beside_each_other(said) -> None:  # type: ignore[no-untyped-def]
    text = said("slow", FAST)
    assert re.search(r"^slow: run [0-9a-f]{32}, 6 of 6 trials finished$", text, re.MULTILINE)
    assert re.search(r"what differs\n  setting  slow   fast & 50% \$_{x}\n  lr       0\.001  0\.003\n\n", text)
    cell = text.partition("\nlayers.1, expansion 8, k 16\n")[2].partition("\n\n")[0].splitlines()
    assert [re.split(r"  +", line[2:])[:3] for line in cell[:-1]] == [
        ["topk", "slow", "3"], ["topk", FAST, "3"], ["mp", "slow", "3"], ["mp", FAST, "3"],
    ]  # fmt: skip
    assert "0.2435 ± 0.0095 [0.2199, 0.2671]" in cell[3] and cell[3].startswith("* ")
    assert cell[4] == f"  mp ({FAST}) by 0.0505 ± 0.0012, before mp (slow), paired by 3 seeds"
    assert "+0.0505 ± 0.0012" in cell[2] and max(map(len, text.splitlines())) <= 120
    assert re.search(
        r"^  mp +slow +3 +0\.900 ± 0\.000 +0\.700 ± 0\.000 +11\.0 ± 1\.0 +16\.0 ± 0\.0$", text, re.MULTILINE
    )


def test_other_text_is_said_and_nobody_wins_on_it(said) -> None:  # type: ignore[no-untyped-def]
    text = said("slow", "longer")
    assert "slow and longer do not have the same tokens (tokens.fingerprint, train_tokens)" in " ".join(text.split())
    assert re.search(
        r"^  mp \(longer\) by 0\.0404 ± 0\.\d{4}, before mp \(slow\), Welch, other text$", text, re.MULTILINE
    )
    assert "\n- mp       longer" in text and "\n* " not in text
    assert re.search(r"^  tokens\.fingerprint  aaaaaaaa  bbbbbbbb$", text, re.MULTILINE)


def test_a_trial_beside_itself_is_said_to_be_that(said) -> None:  # type: ignore[no-untyped-def]
    text = said("slow", "slow again")
    assert len(re.findall(r"slow again .*  as in slow$", text, re.MULTILINE)) == 2
    assert "Trials of slow again have the axes and settings of trials of slow" in " ".join(text.split())
    assert "\n  mp (slow) by 0.1000 ± 0.0000, paired by 3 seeds\n" in text


def test_sweeps_that_share_no_cell_are_not_compared(said) -> None:  # type: ignore[no-untyped-def]
    text = said("slow", "transcoders")
    assert "they are not compared with each other" in " ".join(text.split())
    assert "\nlayers.1, transcoded, expansion 8, k 16\n" in text


def test_trials_that_failed_are_counted(said) -> None:  # type: ignore[no-untyped-def]
    table = [row for row in rows(said("slow", "failing", "dead", "--format", "markdown")) if "mp" in row]
    assert [row[5] for row in table] == ["3", "1 of 3", "0"]
    assert table[2][6] == "-"


def test_an_old_sweep_has_its_settings_from_its_own_run(said) -> None:  # type: ignore[no-untyped-def]
    text = said("old", "slow")
    assert re.search(r"^  lr +0\.002 +0\.001$", text, re.MULTILINE)
    assert "Not recorded" not in text and "same tokens (" not in text
    assert re.search(r"^  mp \(slow\) by 0\.0101 ± 0\.\d{4}, before mp \(old\), paired by 3 seeds$", text, re.MULTILINE)


def test_one_sweep_is_shown_by_itself(said) -> None:  # type: ignore[no-untyped-def]
    text = said(SWEEP)
    assert "what differs" not in text and "sweep" not in text.splitlines()[2]
    assert "\n  mp by 0.0500, one seed\n" in text, "of layers.9, where a trial failed"
    assert re.search(r"^  mp-tied  2 +0\.3390 ± 0\.0071 \[", text, re.MULTILINE)


def test_csv_is_read_back_with_its_numbers(said) -> None:  # type: ignore[no-untyped-def]
    found = pandas.read_csv(io.StringIO(said("slow", FAST, "longer", "slow again", "dead", "--format", "csv")))
    assert len(found) == 10 and set(found["sweep"]) == {"slow", FAST, "longer", "slow again", "dead"}
    mp = found[found["variant"] == "mp"].set_index("sweep")
    assert {*AXES} - {"seed"} <= {*found.columns} and found["run_id"].nunique() == 5
    assert mp.loc[FAST, "val/fvu"] == pytest.approx(0.3 - 0.016 + 0.01 - 0.05 * 1.01)
    assert mp.loc[FAST, "val/fvu_low"] < mp.loc[FAST, "val/fvu"] - mp.loc[FAST, "val/fvu_sd"]
    assert mp.loc["slow", f"{CE}_sd"] == 0 and mp.loc["slow", "autointerp/fuzz/mean"] == pytest.approx(0.7)
    assert mp["lr"].to_dict() == {"slow": 0.001, FAST: 0.003, "longer": 0.001, "slow again": 0.001, "dead": 0.001}
    assert mp["lowest"].to_dict() == {"slow": False, FAST: True, "longer": False, "slow again": False, "dead": False}
    assert not found["winner"].any(), "the next stands on other text"
    assert mp["above_lowest_method"].fillna("").to_dict() == {
        "slow": "paired", FAST: "", "longer": "welch", "slow again": "", "dead": "",
    }  # fmt: skip
    assert mp["other_text_or_model"].sum() == 1 and mp.loc["longer", "other_text_or_model"]
    assert mp.loc["slow", "above_lowest_low"] < mp.loc["slow", "above_lowest"] < mp.loc["slow", "above_lowest_high"]
    assert mp.loc["slow again", "same_as"] == mp.loc["slow", "run_id"]
    assert mp.loc["dead", "seeds"] == 0 and pandas.isna(mp.loc["dead", "val/fvu"])


def test_latex_is_whole(said) -> None:  # type: ignore[no-untyped-def]
    text = said("slow", FAST, "--format", "latex")
    lines = [line for line in text.splitlines() if line and not line.startswith("%")]
    body = "\n".join(lines)
    assert body.count(r"\begin{tabular}{") == body.count(r"\end{tabular}") == 2
    assert body.count(r"\toprule") == body.count(r"\bottomrule") == 2
    assert not re.search(r"(?<!\\)[%#$_^~](?!\\pm\$)", body.replace(r"$\pm$", ""))
    bare = re.sub(r"\\[{}&%$#_]", "", body)
    assert bare.count("{") == bare.count("}")
    widths = {len(spec): spec for spec in re.findall(r"\\begin{tabular}{(l+)}", body)}
    ampersands = {line.count("&") for line in bare.splitlines() if line.endswith(r"\\")}
    assert ampersands == {width - 1 for width in widths}
    assert r"fast \& 50\% \$\_\{x\}" in body and body.count(r"\textbf{0.2435 $\pm$ 0.0095 {[}0.2199, 0.2671{]}}") == 1
    assert body.isascii()


def test_names_ids_and_several_in_one_word(kept: Path, said) -> None:  # type: ignore[no-untyped-def]
    run = read_sweep(default_uri(kept), "slow again").run_id
    both = said("slow", "slow again")
    assert said("slow", run) == said(f"slow {run}") == both
    assert said("slow again").startswith("slow again: run "), "a name as it is comes first"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["slow", "nothing"], r"run 'nothing': MLflow has no sweep of this name and no parent run with this id"),
        (["slow nothing"], r"run 'slow nothing': MLflow has no sweep of this name .*, and none called 'nothing'"),
        (["slow", "slow"], r"run 'slow': is named twice; give each sweep once"),
        (["dead"], r"run 'dead': no trial has finished, so there is nothing to compare"),
        ([], r"run: is missing; --help says what it is"),
        ([""], r"run '': is empty; give a value"),
        (["slow", "--format", "cvs"], r"format 'cvs': allowed are text, markdown, csv, latex"),
        (["slow", "--metric", "l0"], r"--metric: no such flag; --help lists all"),
        (["a,b"], r"run 'a,b': MLflow has no sweep of this name .*"),
    ],
    ids=lambda value: " ".join(value) or "none" if isinstance(value, list) else "",
)
def test_what_cannot_be_compared_is_one_line(
    words: list[str], expected: str, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--storage", str(kept)]) == 2
    written, errors = capsys.readouterr()
    assert written == "" and re.fullmatch(f"error: {expected}\n", errors)


def test_what_latex_reads_otherwise_is_escaped() -> None:
    assert escaped(["-0.1 [-0.2, 0.3]", "a--b", "mp-tied", "~^<>|\"\\", "a…b ± 1"]) == [
        "$-$0.1 {[}$-$0.2, 0.3{]}", "a{-}{-}b", "mp{-}tied",
        r"\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}\textbar{}\textquotedbl{}\textbackslash{}",
        r"a\ldots{}b $\pm$ 1",
    ]  # fmt: skip
