"""Documents as ids: long ones in pieces, with the same ids and in little memory."""

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.language_models.loading import load_tokenizer
from orchestrator.text.encoding import encode
from orchestrator.text.python_docs import python_docs
from tests.support.waiting import LIMIT_SECONDS


def prose(n_chars: int) -> str:
    """One long document of English."""
    text = "\n\n".join(islice(python_docs(), 400))
    return (text * (n_chars // len(text) + 1))[:n_chars]


@pytest.mark.parametrize("joint", ["\n", " "])
def test_pieces_have_the_ids_of_the_whole(tokenizer: Any, joint: str) -> None:
    text = joint.join(prose(1_500_000).split())
    (ids,) = encode(tokenizer, [text], most=10**9)
    assert ids.dtype == np.int32
    assert ids.tolist() == tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]


def test_a_text_without_a_place_to_cut_loses_nothing(tokenizer: Any) -> None:
    text = "\u4f60\u597d,\u4e16\u754c" * 250_000
    (ids,) = encode(tokenizer, [text], most=10**9)
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_long_and_short_texts_keep_their_order(tokenizer: Any) -> None:
    texts = ["first", prose(1_100_000), "", "last"]
    expected = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    assert [ids.tolist() for ids in encode(tokenizer, texts, most=10**9)] == expected


def test_of_a_long_text_no_more_is_encoded_than_is_needed(tokenizer: Any) -> None:
    text = prose(3_200_000)
    (some,), (all_of_it,) = (list(encode(tokenizer, [text], most)) for most in (1000, 10**9))
    assert 1000 <= len(some) < len(all_of_it) / 3
    assert np.array_equal(some, all_of_it[: len(some)])


LONG = """
import resource, sys
from pathlib import Path
from orchestrator.language_models.loading import load_tokenizer
from orchestrator.text.config import TextConfig
from orchestrator.text.token_blocks import tokenise
blocks = tokenise(
    TextConfig(dataset=sys.argv[1]), load_tokenizer("packaged"), context_length=256, train_tokens=250_000,
    val_tokens=0, out_dir=Path(sys.argv[1]).parent,
)
print(blocks.n_documents, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_a_long_document_takes_little_memory(tmp_path: Path) -> None:
    peaks = []
    for n_chars in (1_200_000, 3_200_000):
        path = tmp_path / f"{n_chars}.txt"
        path.write_text("\n".join(prose(n_chars).split()), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", LONG, str(path)], capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True
        )
        documents, peak = map(int, done.stdout.split())
        assert documents == 1
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 20 * 2, "MB more for 2 MB more; all at once takes 160 bytes a character"


def test_a_tokenizer_saved_to_cut_and_pad_does_neither(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    file = tmp_path / "tokenizer.json"
    saved = json.loads(file.read_text(encoding="utf-8"))
    saved["truncation"] = {"direction": "Right", "max_length": 16, "strategy": "LongestFirst", "stride": 0}
    saved["padding"] = {
        "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": tokenizer.eos_token,
    }  # fmt: skip
    file.write_text(json.dumps(saved), encoding="utf-8")
    texts = ["short", "a text of more tokens than that " * 20]
    expected = [ids.tolist() for ids in encode(tokenizer, texts, most=10**9)]
    assert [ids.tolist() for ids in encode(load_tokenizer(str(tmp_path)), texts, most=10**9)] == expected
