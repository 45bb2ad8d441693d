"""The kit for a machine with a GPU, at toy size on this one; and the model that travels with it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import check, findings, packed_model
from benchmarks.gpu.pack import pack
from benchmarks.gpu.sizes import DRY
from orchestrator.language_models.loading import LanguageModel
from tests.support.waiting import wait_until

HOOKPOINTS = ["layers.10", "layers.10.mlp", "layers.0"]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pack") / "pack.safetensors"
    pack(path, DRY.train_tokens, DRY.val_tokens)
    return path


def test_the_packed_model_computes_the_same_bits_as_the_whole_one(packed: Path, tmp_path: Path) -> None:
    packed_model.unpack(packed, tmp_path / "model")
    tokens_NL = packed_model.tokens_of(packed, "val")
    assert tokens_NL.shape == (DRY.val_tokens // 256, 256)
    found, expected = (
        LanguageModel.load(model).capture(tokens_NL, HOOKPOINTS) for model in (str(tmp_path / "model"), "packaged")
    )
    for hookpoint in HOOKPOINTS:
        assert expected[hookpoint].std() > 0
        assert torch.equal(found[hookpoint], expected[hookpoint]), hookpoint


@pytest.mark.kit
@pytest.mark.timeout(7200)
def test_every_stage_runs_dry_and_leaves_its_findings(packed: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu.check", "--dry", "--pack", packed, "--out", tmp_path / "out"]
    ended = subprocess.run([*command, "--budget", "6000"], cwd=check.ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    found = findings.read(tmp_path / "out")
    stages = {finding["stage"] for finding in found}
    assert stages >= {"machine", "stages", "prepare", "right", "speed", "loop", "study"}
    assert not [finding for finding in found if "failed" in finding]
    agreed = [finding["agreement_pct"] for finding in found if finding["stage"] == "right"]
    assert len(agreed) >= 10 and min(agreed) > 99
    scored = [finding for finding in found if "val_fvu" in finding]
    assert len(scored) >= 4
    for cell in scored:  # a coder that has learnt nothing puts out the mean, or 0 where the output has no bias
        nothing = 1 if cell["variant"] in ("topk", "mp") else 1 + cell["mean_share"]
        assert 0 < cell["val_fvu"] < nothing, cell
    assert {"data_wait_pct", "tokens_per_second"} <= {key for finding in found for key in finding}
    page = (tmp_path / "out" / findings.PAGE).read_text(encoding="utf-8")
    assert all(f"## {stage}" in page for stage in stages)
    files = list((tmp_path / "out").iterdir())
    assert len(files) <= 8 and all(file.stat().st_size <= check.MAX_BYTES for file in files)
    again = subprocess.run(command, cwd=check.ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 2 and "holds findings already" in again.stderr


def test_a_stage_that_hangs_costs_its_own_time_and_its_children_end(tmp_path: Path) -> None:
    child = tmp_path / "child"
    hang = f"sleep 1000 & echo $! > {child}; wait"
    work = check.Work("loop", 10, ["sh", "-c", hang])
    options = check.Options(tmp_path, tmp_path / "out", 100, dry=True)
    options.out.mkdir()
    assert not check._run(work, options, tmp_path, time.monotonic() + 1000)
    told = findings.read(options.out)[0]
    assert (told["name"], told["ended"]) == ("loop", "stopped after 10 s")
    pid = int(child.read_text())
    wait_until(lambda: _has_ended(pid), "the child of a stage that was stopped ends, too")
    assert check._run(work, options, tmp_path, time.monotonic() - 1)
    assert findings.read(options.out)[-1]["ended"] == "no time was left"


def _has_ended(pid: int) -> bool:
    try:
        return " Z " in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return True


def test_a_line_that_a_killed_stage_left_unfinished_spoils_nothing(tmp_path: Path) -> None:
    findings.note(tmp_path, "loop", variant="mp", seconds=1.5)
    with (tmp_path / findings.LINES).open("a") as file:
        file.write(json.dumps({"stage": "loop"})[:-4] + "\n")
    findings.note(tmp_path, "loop", variant="topk", seconds=0.25)
    findings.write_page(tmp_path)
    page = (tmp_path / findings.PAGE).read_text(encoding="utf-8")
    assert "| mp | 1.5 |\n| topk | 0.25 |" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "0"], "argument --budget: 0 is not a positive number of seconds"),
        (["--pack", "nowhere"], "argument --pack: nowhere is no file"),
    ],
)
def test_wrong_arguments_are_told(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        check.main(["--out", str(tmp_path / "out"), *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


ABSENT = (
    "ray",
    "mlflow",
    "pyarrow",
    "datasets",
    "gguf",
    "tyro",
    "accelerate",
    "scipy",
    "matplotlib",
    "plotly",
    "sae_lens",
)
"""What a bare machine lacks."""


def test_nothing_is_imported_that_a_bare_machine_lacks() -> None:
    """The stages, and the tests that are to run on the GPU."""
    stages = ["prepare", "right", "small_cases", "speed", "loop", "study", "check"]
    program = f"""
import importlib, sys
import pytest
for name in {ABSENT}:
    sys.modules[name] = None
for stage in {stages}:
    importlib.import_module("benchmarks.gpu." + stage)
importlib.import_module("benchmarks.worker")
sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", "-m", "gpu", *{check.GPU_TESTS}]))
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=check.ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
