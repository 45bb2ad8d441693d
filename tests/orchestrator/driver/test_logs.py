"""What is kept out of a script's log, and where."""

import os
import subprocess
import sys

import pytest

from tests.support.terminal import Screen, on_a_terminal
from tests.support.waiting import LIMIT_SECONDS

PROGRAM = """
import datasets.config, logging
from huggingface_hub.utils import are_progress_bars_disabled
ray = logging.getLogger("ray._private.authentication.authentication_token_setup")
ray.warning("Token authentication is enabled for this Ray cluster. Set RAY_AUTH_MODE=disabled to opt out.")
ray.warning("Token authentication is disabled for this Ray cluster. Anyone can run code.")
logging.getLogger("orchestrator").info("how far it is")
logging.getLogger("orchestrator").warning("what went wrong")
print(datasets.config.HF_DATASETS_DISABLE_PROGRESS_BARS, are_progress_bars_disabled())
"""
CASES = {
    "a terminal": ("set_up_logging()", "", "None False\n", ["how far it is", "what went wrong"]),
    "--quiet": ("set_up_logging(); be_quiet()", "", "True True\n", ["what went wrong"]),
    "a file": ("set_up_logging()", "2>&1 >&3 | cat >&2", "True True\n", ["how far it is", "what went wrong"]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_log_has_news_and_bars_are_for_terminals(case: str) -> None:
    begin, redirected, bars, ours = CASES[case]
    program = f"from orchestrator.driver.logs import *\n{begin}\n{PROGRAM}"
    clean = ["env", "-u", "HF_DATASETS_DISABLE_PROGRESS_BARS"]  # which scripts that ran in this process have set
    shell = [*clean, "sh", "-c", f'exec 3>&1; "$@" {redirected}', "sh", sys.executable, "-c", program]
    status, said, written = on_a_terminal(shell, 200)
    assert (status, said) == (0, bars)
    lines = [line for line in Screen(200).feed(written).lines if line]
    assert [line for line in lines if "Token authentication is enabled" in line] == []
    assert sum("Token authentication is disabled" in line for line in lines) == 1
    assert [line.partition(" ")[2] for line in lines if "Token" not in line] == ours


TELLTALE = """
import logging, os, sys
from orchestrator.driver.script import exit_status
def script(interruption):
    key, log = os.environ["HF_TOKEN"], logging.getLogger("orchestrator")
    log.info("said Bearer %s", key)
    logging.getLogger("httpx").warning("GET http://me:%s@hub/x?token=abc", key)
    try:
        raise ValueError(f"raised Bearer {key}")
    except ValueError:
        log.exception("caught")
    return 0
sys.exit(exit_status(script))
"""


def test_keys_are_in_no_log_line_and_no_traceback() -> None:
    key = "hub-canary-0123"
    done = subprocess.run(
        [sys.executable, "-c", TELLTALE],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        env=os.environ | {"HF_TOKEN": key},
    )
    assert done.returncode == 0
    assert key not in done.stdout + done.stderr
    lines = [line.partition(" ")[2] for line in done.stderr.splitlines()]
    assert lines[:3] == ["said Bearer ***", "GET http://hub/x?token=***", "caught"]
    assert done.stderr.splitlines()[-1] == "ValueError: raised Bearer ***"
