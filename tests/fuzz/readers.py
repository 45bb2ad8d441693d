"""Every reader of files that may be damaged or a stranger's: files as they should be, how they are read and used."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from models import SparseCoder
from orchestrator.activations.tables import open_shard, write_table
from orchestrator.grid.config import SweepConfig
from orchestrator.text.token_blocks import open_blocks
from orchestrator.tracking.datasets import EVALUATION, TRAINING, both_splits
from orchestrator.tracking.journal import PARENT, Journal, State
from orchestrator.tracking.records import journal_records
from orchestrator.trials.checkpoints import Checkpoints
from orchestrator.trials.results import keep_result, keep_scores, result_of, scores_of
from tests.support.coders import make_coder, make_tokens
from tests.support.tables import D, L, N, read_back, table_of
from tests.support.trainers import make_batches, make_trainer, train, weights

BLOCKS = {"train": 50, "val": 10}
CURSOR = {"epoch": 0, "position": 0, "offset": 5, "excluded_first": 1, "excluded_massive": 0}


@dataclass(frozen=True)
class Reader:
    """How to make the files in an empty directory, and how to read them there and use what was read."""

    write: Callable[[Path], object]
    read: Callable[[Path], object]
    errors: tuple[type[Exception], ...] = (ValueError, FileNotFoundError)
    """What may come out."""

    @cache  # noqa: B019 -- there are a dozen readers, kept for good
    def files(self) -> dict[str, bytes]:
        """The files as they should be, by their path."""
        with tempfile.TemporaryDirectory() as made:
            self.write(Path(made))
            found = [path for path in sorted(Path(made).rglob("*")) if path.is_file()]
            return {path.relative_to(made).as_posix(): path.read_bytes() for path in found}


def _write_config(directory: Path) -> None:
    content = SweepConfig(name="a", cache_dir=Path("cache"), store_gb=1.5, log_every=3).to_json()
    (directory / "sweep.json").write_text(json.dumps(content), encoding="utf-8")


def _read_config(directory: Path) -> None:
    cfg = SweepConfig.from_json((directory / "sweep.json").read_bytes())
    assert cfg.name is None or ("/" not in cfg.name and cfg.name not in ("", ".", ".."))
    json.dumps(cfg.to_json())
    assert cfg.params() and cfg.shards("train") > 0 and cfg.train_config(1e-3).steps == cfg.steps and hash(cfg)


def _write_sparsifys(directory: Path) -> None:
    make_coder(variant="sst").save_to_disk(directory)
    content = json.loads((directory / "cfg.json").read_text(encoding="utf-8"))
    content = {name: content[name] for name in ("num_latents", "k", "skip_connection", "transcode", "d_in")}
    (directory / "cfg.json").write_text(json.dumps(content), encoding="utf-8")


def _read_coder(directory: Path) -> None:
    coder = SparseCoder.load_from_disk(directory)
    if coder.d_in == 10:
        coder(make_tokens(3, dtype=coder.W_dec.dtype))


def _write_checkpoint(directory: Path) -> None:
    trainer = make_trainer()
    train(trainer, make_batches(1))
    trainer.save(directory, CURSOR)


def _write_newest(directory: Path) -> None:
    trainer = make_trainer()
    train(trainer, make_batches(1))
    Checkpoints(directory).write(trainer, CURSOR)


def _write_without_checksums(directory: Path) -> None:
    (directory / "step-00000001").mkdir()
    _write_checkpoint(directory / "step-00000001")


def _restore(directory: Path) -> None:
    trainer = make_trainer()
    before = weights(trainer)
    with torch.random.fork_rng():
        try:
            trainer.restore(directory)
        except ValueError:
            now = weights(trainer)
            assert trainer.step_count == 0 and all(torch.equal(value, now[name]) for name, value in before.items())
            assert not trainer.optimiser.state and not trainer.silent_tokens.any()
            raise
        trainer.step(make_batches(1)[0])
        trainer.dead_pct()


def _restore_newest(directory: Path) -> None:
    trainer = make_trainer()
    with torch.random.fork_rng():
        Checkpoints(directory).restore(trainer)
    trainer.step(make_batches(1)[0])


def _write_shard(directory: Path) -> None:
    write_table(table_of(make_tokens(N * L, D).view(N, L, D)), directory / "a.arrow")


def _read_shard(directory: Path) -> None:
    table = read_back(directory / "a.arrow")
    if table is not None:
        shard = open_shard(table, exclude_first=True, massive_multiple=10.0)
        shard.rows(shard.ordinary)


def _write_journal(directory: Path) -> None:
    journal = Journal(directory)
    params = {"model": "m", "hookpoint": "layers.1", "k": "4", "expansion_factor": "8", "variant": "topk", "seed": "0"}
    journal.append("start", None, params={"variant": "('topk',)"}, tags={"a": "b"}, config={"k": 4}, experiment="e")
    journal.append("start", "t", params=params, tags={})
    journal.append_metrics("t", {"train/fvu": 0.5, "l0": 4.0}, 3)
    journal.append_model("t", ["l0"])
    text = both_splits("a", "b", "code", {}, {TRAINING: {}, EVALUATION: {}})
    journal.append("datasets", "t", datasets=[asdict(dataset) for dataset in text])
    journal.append("params", "t", params={"more": "1"})
    journal.append("artifacts", "t", path=str(directory / "coder"), to="checkpoint")
    journal.append("end", "t", status="FAILED", failure="why")
    _, (_, end), *_ = journal.pending()
    journal.state = State(end, "1", {PARENT: "a", "t": "b"})
    journal.save()


def _read_journal(directory: Path) -> None:
    for record in journal_records(directory) if (directory / "journal.jsonl").exists() else ():
        assert isinstance(record.k, int) and all(isinstance(value, float) for value in record.metrics.values())
    journal = Journal(directory)
    journal.append_metrics("t", {"train/fvu": 0.5}, 4)
    journal.append_model("t", ["train/fvu", "l0"])
    journal.append("start", "u", params={}, tags={})
    for entry, end in journal.pending():
        if entry["op"] == "metrics":
            assert all(isinstance(value, float) for value in entry["data"].values())
        journal.state.runs[entry["trial"] or PARENT] = "c"
        journal.advance(end)
    journal.flush()
    assert journal.unsent() == 0


def _write_tokens(directory: Path) -> None:
    for name, blocks in BLOCKS.items():
        np.save(directory / f"{name}.npy", np.arange(blocks * 16, dtype=np.int32).reshape(blocks, 16))
    (directory / "tokens.json").write_text(json.dumps({"fingerprint": "f" * 32, "n_documents": 9}), encoding="utf-8")


def _read_tokens(directory: Path) -> None:
    blocks = open_blocks(directory, BLOCKS, 16)
    assert blocks.train.shape == (50, 16) and blocks.val.shape == (10, 16)
    assert blocks.train.dtype == blocks.val.dtype == np.int32
    assert isinstance(int(blocks.train.max()) + int(blocks.val.sum()), int)
    assert blocks.fingerprint + "a" and blocks.n_documents + 1


def _write_results(directory: Path) -> None:
    keep_result(directory, {"step": 12, "val/fvu": 0.5, "l0": 4.0})
    keep_scores(directory, {"metrics": {"a/b": 0.5}, "times": 1, "firing_rates": [0.1, 0.2]})


def _read_results(directory: Path) -> None:
    if (result := result_of(directory)) is not None:
        failure = result.get("failure")
        assert isinstance(failure, str) if "failure" in result else f"{result['val/fvu']:.4f} {result['step'] + 1}"
    if (scores := scores_of(directory)) is not None:
        assert {**scores["metrics"], "more": 1.0} and scores["times"] + 1 > 1
        assert all(isinstance(value, int | float) for value in scores["metrics"].values())


READERS = {
    "sweep.json": Reader(_write_config, _read_config),
    "coder": Reader(lambda place: make_coder(variant="mp").save_to_disk(place), _read_coder),
    "coder with a decoder per step": Reader(
        lambda place: make_coder(variant="mp-big-decoder").save_to_disk(place), _read_coder
    ),
    "coder of sparsify": Reader(_write_sparsifys, _read_coder),
    "coder of SAELens": Reader(lambda place: make_coder(variant="topk").save_to_saelens(place), _read_coder),
    "training checkpoint": Reader(_write_checkpoint, _restore),
    "newest checkpoint of a trial": Reader(_write_newest, _restore_newest, ()),
    "newest checkpoint without checksums": Reader(_write_without_checksums, _restore_newest, ()),
    "shard": Reader(_write_shard, _read_shard, ()),
    "journal": Reader(_write_journal, _read_journal, ()),
    "tokens": Reader(_write_tokens, _read_tokens),
    "results": Reader(_write_results, _read_results),
}
