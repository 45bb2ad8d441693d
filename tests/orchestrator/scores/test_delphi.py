"""delphi imports with and without vllm, and nothing pretends to be vllm afterwards."""

import subprocess
import sys
from pathlib import Path

from tests.support.waiting import LIMIT_SECONDS

ABSENT = """
import sys
from orchestrator.scores.delphi import delphi, has_vllm
assert not has_vllm()
assert delphi("scorers").FuzzingScorer and delphi("explainers").DefaultExplainer and delphi("latents").LatentRecord
assert not [name for name in sys.modules if name.partition(".")[0] == "vllm"], "a placeholder is left"
try:
    import vllm
except ModuleNotFoundError:
    print("absent")
"""

PRESENT = """
import sys
from orchestrator.scores.delphi import delphi, has_vllm
assert has_vllm()
offline = delphi("clients.offline")
import vllm
assert vllm.__file__.startswith(sys.path[0]), vllm
assert offline.LLM is vllm.LLM and offline.LLM("x").model == "x"
print("present")
"""


def run(script: str, *more: str) -> str:
    start = f"import sys\nsys.path[:0] = {list(more)}\n"
    done = subprocess.run([sys.executable, "-c", start + script], capture_output=True, text=True, timeout=LIMIT_SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_placeholder_stands_in_only_while_delphi_is_imported() -> None:
    assert run(ABSENT) == "absent"


def test_a_real_vllm_is_left_untouched(tmp_path: Path) -> None:
    files = {
        "vllm/__init__.py": "SamplingParams = str\nclass LLM:\n  def __init__(self, model):\n    self.model = model\n",
        "vllm/inputs.py": "class TokensPrompt: ...\n",
        "vllm/distributed/__init__.py": "",
        "vllm/distributed/parallel_state.py": "destroy_distributed_environment = destroy_model_parallel = print\n",
    }  # fmt: skip
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    assert run(PRESENT, str(tmp_path)) == "present"
