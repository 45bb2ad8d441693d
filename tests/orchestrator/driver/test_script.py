"""What a sweep script says of itself, to people who stop listening or stop waiting."""

import signal
import subprocess
import sys
from pathlib import Path

from models import VARIANTS

SCRIPT = Path(__file__).parents[3] / "sweeps" / "smollm_grid.py"


def test_help_lists_the_variants_and_may_be_cut_off() -> None:
    whole = subprocess.run([sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, timeout=600)
    words = whole.stdout.replace("│", " ").replace(",", " ").replace(".", " ").replace(";", " ").split()
    assert set(VARIANTS) <= set(words)
    process = subprocess.Popen([sys.executable, str(SCRIPT), "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stderr
    process.stdout.close()
    assert b"Error" not in process.stderr.read()
    assert process.wait(timeout=600) == 128 + signal.SIGPIPE


def test_an_interrupted_import_is_one_line() -> None:
    program = "import signal; from orchestrator import driver; signal.raise_signal(signal.SIGINT); import torch"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=600)
    assert done.stderr == "interrupted; nothing had begun\n"
    assert done.returncode == -signal.SIGINT
