"""Text sources and the blocks cut from them. Shape suffixes: N blocks, L positions."""

import json
import logging
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from orchestrator.errors import UserError
from orchestrator.text.block_order import block_order
from orchestrator.text.config import TextConfig
from orchestrator.text.token_blocks import TokenBlocks, tokenise
from tests.support.texts import TEXTS, write

L = 16


def as_read(shuffled_NL: np.ndarray) -> np.ndarray:
    """Training blocks in the order of the text."""
    text_NL = np.empty_like(shuffled_NL)
    text_NL[block_order(len(text_NL))] = shuffled_NL
    return text_NL


def split_documents(blocks_NL: np.ndarray, eos: int) -> list[tuple[int, ...]]:
    """Documents as tuples of tokens, the last one perhaps cut."""
    flat = blocks_NL.reshape(-1)
    assert flat[0] == eos
    return [tuple(part[1:].tolist()) for part in np.split(flat, np.flatnonzero(flat == eos))[1:]]


def test_blocks_hold_whole_documents_of_one_side(tmp_path: Path, tokenizer: Any) -> None:
    # Every text is there twice, and both copies have to fall on one side.
    path = tmp_path / "twice.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in TEXTS + TEXTS), encoding="utf-8")
    blocks = tokenise(
        TextConfig(dataset=str(path)), tokenizer, context_length=L, train_tokens=8005, val_tokens=2000, out_dir=tmp_path
    )
    assert blocks.train.shape == (500, L) and blocks.val.shape == (125, L)
    assert blocks.train.dtype == blocks.val.dtype == np.int32
    eos = tokenizer.eos_token_id
    train, val = split_documents(as_read(blocks.train), eos), split_documents(blocks.val, eos)
    assert not set(train) & set(val) and blocks.n_documents == len(train) + len(val)
    known = {tuple(ids) for ids in tokenizer(TEXTS, add_special_tokens=False)["input_ids"]}
    assert set(train[:-1]) | set(val[:-1]) <= known


def test_every_stretch_of_training_blocks_is_a_sample_of_the_whole_text(tmp_path: Path, tokenizer: Any) -> None:
    blocks = tokenise(
        TextConfig(dataset=write(tmp_path, "parquet")),
        tokenizer, context_length=L, train_tokens=10_000, val_tokens=320, out_dir=tmp_path,
    ).train  # fmt: skip
    order = block_order(len(blocks))
    assert sorted(order) == list(range(len(blocks)))
    assert order[:5].tolist() == block_order(len(blocks))[:5].tolist() != block_order(len(blocks) - 1)[:5].tolist()
    for stretch in np.array_split(order, 10):
        quarters = np.histogram(stretch, bins=4, range=(0, len(blocks)))[0] / len(stretch)
        assert (quarters > 0.1).all() and (quarters < 0.45).all(), quarters


def test_deterministic_and_reused(tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = TextConfig(dataset=write(tmp_path, "parquet"))

    def run(out: str, length: int = L) -> TokenBlocks:
        return tokenise(
            cfg, tokenizer, context_length=length, train_tokens=1600, val_tokens=320, out_dir=tmp_path / out
        )

    first, second = run("one"), run("two")
    assert first.fingerprint == second.fingerprint
    assert np.array_equal(first.train, second.train) and np.array_equal(first.val, second.val)
    assert run("one", 2 * L).fingerprint != first.fingerprint
    monkeypatch.setattr("orchestrator.text.token_blocks._fill", lambda *_: pytest.fail("tokenised again"))
    assert run("one").fingerprint == first.fingerprint
    assert not [path for path in (tmp_path / "one").iterdir() if path.name.startswith(".")]


def test_tokenising_says_at_its_end_how_fast_it_was(
    tmp_path: Path, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Once: blocks that are there already took no time."""
    caplog.set_level(logging.INFO, "orchestrator.text.token_blocks")
    cfg = TextConfig(dataset=write(tmp_path, "parquet"))
    for _ in range(2):
        tokenise(cfg, tokenizer, context_length=L, train_tokens=1600, val_tokens=320, out_dir=tmp_path)
    assert len(caplog.messages) == 1
    assert re.fullmatch(r"tokenised 1920 tokens in [0-9]+\.[0-9] s \([0-9]+ a second\)", caplog.messages[0])


def test_changed_file_is_tokenised_again(tmp_path: Path, tokenizer: Any) -> None:
    def run() -> TokenBlocks:
        cfg = TextConfig(dataset=str(tmp_path / "a.parquet"))
        return tokenise(cfg, tokenizer, context_length=L, train_tokens=160, val_tokens=0, out_dir=tmp_path / "out")

    write(tmp_path, "parquet")
    first = run()
    pq.write_table(pa.table({"text": TEXTS[::-1]}), tmp_path / "a.parquet")
    assert run().fingerprint != first.fingerprint
    assert first.val.shape == (0, L)


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        (10**6 + 1, 1000, "train_tokens 1000001: .*has only [0-9]+ training tokens"),
        (320, 10**6, "val_tokens .*has only [0-9]+ validation tokens"),
        (L - 1, 0, "train_tokens 15: less than one block.*context_length 16"),
        (L, L - 1, "val_tokens 15: less than one block"),
    ],
)
def test_too_few_tokens(tmp_path: Path, tokenizer: Any, train: int, val: int, message: str) -> None:
    cfg = TextConfig(dataset=write(tmp_path, "parquet"))
    out = tmp_path / "out"
    with pytest.raises(UserError, match=message):
        tokenise(cfg, tokenizer, context_length=L, train_tokens=train, val_tokens=val, out_dir=out)
    assert not out.exists() or not list(out.iterdir())


@pytest.mark.parametrize(
    ("texts", "train", "val", "message"),
    [
        (["one " * 500], 320, 320, "has only [0-9]+ (training|validation) tokens: it is one document, which"),
        (
            ["one " * 50] * 20,
            320,
            320,
            "only [0-9]+ (training|validation) tokens: it is 20 copies of one document, which",
        ),
        ([f"{i} " * 500 for i in range(3)], 320, 16, "only 0 validation tokens: none of its 3 documents fell to val"),
        ([f"{i} " * 9 for i in range(300)], 320, 20_000, "validation tokens: [0-9]+ of its 300 documents fell to val"),
    ],
)
def test_too_few_tokens_say_why(
    tmp_path: Path, tokenizer: Any, texts: list[str], train: int, val: int, message: str
) -> None:
    (tmp_path / "a.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    cfg = TextConfig(dataset=str(tmp_path / "a.txt"))
    with pytest.raises(UserError, match=message) as caught:
        tokenise(cfg, tokenizer, context_length=L, train_tokens=train, val_tokens=val, out_dir=tmp_path / "out")
    line = str(caught.value)
    assert "\n" not in line and ("in a .txt file an empty line ends a document" in line) == ("one document" in line)


def test_memory_does_not_grow_with_tokens(tmp_path: Path, tokenizer: Any) -> None:
    path = tmp_path / "long.jsonl"
    with path.open("w") as file:
        for i in range(12_000):
            file.write(json.dumps({"text": f"{i} " + TEXTS[i % 300] * 4}) + "\n")
    peaks = []
    for tokens in (100_000, 800_000):
        tracemalloc.start()
        cfg = TextConfig(dataset=str(path))
        tokenise(cfg, tokenizer, context_length=L, train_tokens=tokens, val_tokens=1600, out_dir=tmp_path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0] + 2**20, peaks


def test_a_tokenizer_that_begins_sequences_with_bos_begins_every_block_with_it(tmp_path: Path, tokenizer: Any) -> None:
    bos, eos = tokenizer.convert_tokens_to_ids(["<|im_start|>", tokenizer.eos_token])
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [bos], "tokens": ["<|im_start|>"]}},
    }
    like_gemma = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), bos_token="<|im_start|>", eos_token=tokenizer.eos_token
    )
    cfg = TextConfig(dataset=write(tmp_path, "jsonl"))
    asked = {"context_length": L, "train_tokens": 1600, "val_tokens": 320, "out_dir": tmp_path}
    plain, blocks = tokenise(cfg, tokenizer, **asked), tokenise(cfg, like_gemma, **asked)
    assert (blocks.train[:, 0] == bos).all() and (blocks.val[:, 0] == bos).all()
    text = as_read(blocks.train)[:, 1:].reshape(-1)
    assert text[0] == eos
    assert not (text == bos).any()
    assert np.array_equal(text, as_read(plain.train).reshape(-1)[: len(text)])  # the same documents on the same sides
    assert blocks.fingerprint != plain.fingerprint
    with pytest.raises(UserError, match=r"^context_length 1: must be 2 or more"):
        tokenise(cfg, like_gemma, **asked | {"context_length": 1})
