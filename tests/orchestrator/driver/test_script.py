"""What a sweep script says of itself, to people who stop listening or stop waiting."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.driver.script import exit_status
from orchestrator.errors import UserError
from tests.support.waiting import LIMIT_SECONDS

SCRIPT = Path(__file__).parents[3] / "sweeps" / "smollm_grid.py"


def test_an_interrupted_import_is_one_line() -> None:
    program = "import signal; from orchestrator import driver; signal.raise_signal(signal.SIGINT); import torch"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT_SECONDS)
    assert done.stderr == "interrupted; nothing had begun\n"
    assert done.returncode == -signal.SIGINT


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.EROFS], ids=os.strerror)
def test_what_the_operating_system_refuses_is_one_line(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    def script(interruption: object) -> int:
        raise OSError(number, os.strerror(number), "/data/runs")

    assert exit_status(script) == 2
    assert capsys.readouterr().err == f"error: {os.strerror(number)} (/data/runs)\n"


KEY = "hub-canary-0123"


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UserError(f"model 'm': Bearer {KEY}\nrefused"), 2, "error: model 'm': Bearer *** refused\n"),
        (UserError("uri 'http://me:word@host/?token=abc'"), 2, "error: uri 'http://host/?token=***'\n"),
        (OSError(errno.EIO, "refused", f"/{KEY}"), 2, "error: refused (/***)\n"),
        (KeyboardInterrupt(f"resume with {KEY}"), 130, "interrupted; resume with ***\n"),
    ],
    ids=["a mistake", "an address", "the system", "an interruption"],
)
def test_keys_are_in_no_last_line(
    error: BaseException, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", KEY)

    def script(interruption: object) -> int:
        raise error

    assert exit_status(script) == status
    assert capsys.readouterr().err == said
