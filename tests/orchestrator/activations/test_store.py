"""Activation shards on real Ray: computed once for all readers, evicted, prefetched, and had again after any loss."""

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from safetensors.torch import load_file, save_file

from orchestrator.activations import lost_shards
from orchestrator.activations.lost_shards import maker_of, tables_of
from orchestrator.activations.reader import ShardReader
from orchestrator.activations.shards import ActivationError, Shard
from orchestrator.activations.store import Broker, StoreConfig, start_broker
from orchestrator.activations.tables import ShardSpec, table_bytes
from orchestrator.language_models.loading import LanguageModel, fingerprint
from tests.support.waiting import wait_until

HOOKPOINTS = ("layers.1", "layers.2.mlp")
BLOCKS, LENGTH, WIDTH = 32, 64, 32
SHARD_BYTES = table_bytes(BLOCKS * LENGTH, [WIDTH] * len(HOOKPOINTS), "float16")
TRAIN, VAL = 8, 2
SHARDS = [("train", index) for index in range(TRAIN)] + [("val", index) for index in range(VAL)]
WAIT_S = 1200

pytestmark = pytest.mark.sweep


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
        object_store_memory=256 << 20,
    )  # fmt: skip
    try:
        yield
    finally:
        ray.shutdown()
    assert not list(children("raylet")), "Ray is still running"


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Token files; the last training shard is short."""
    directory, generator, files = tmp_path_factory.mktemp("tokens"), np.random.default_rng(0), {}
    for split, blocks in (("train", TRAIN * BLOCKS - 5), ("val", VAL * BLOCKS)):
        files[split] = str(directory / f"{split}.npy")
        np.save(files[split], generator.integers(0, 5000, (blocks, LENGTH), dtype=np.int32))
    return files


class Store:
    """A broker with readers for each hookpoint."""

    names = itertools.count()

    def __init__(self, cfg: StoreConfig) -> None:
        there = {*children("ray::Broker"), *children("ray::Extractor")}
        self.broker = start_broker(f"store-{next(self.names)}", cfg)
        self.readers = [ShardReader(self.broker, index, True, 10.0) for index in range(len(cfg.spec.hookpoints))]
        self.broker_pid = new_process("ray::Broker", there)
        self.extractor_pid = new_process("ray::Extractor", there)

    def read(self, split: str, index: int, hookpoint: int = 0, upcoming: tuple[int, ...] = ()) -> Shard:
        return self.readers[hookpoint].read(split, index, list(upcoming))

    def contents(self) -> dict[tuple[str, int, int], bytes]:
        """All activations, bit for bit."""
        places = [(*shard, hookpoint) for shard in SHARDS for hookpoint in range(len(self.readers))]
        return {place: self.read(*place).values_TD.tobytes() for place in places}

    def counts(self) -> dict[str, int]:
        counts = ray.get(self.broker.counters.remote())
        return {name.removeprefix("shards_"): count for name, count in counts.items()}

    def until(self, condition: Callable[[dict[str, int]], bool]) -> dict[str, int]:
        """Counters once they satisfy the condition."""
        deadline = time.monotonic() + WAIT_S
        while not condition(counts := self.counts()):
            assert time.monotonic() < deadline, counts
            time.sleep(0.02)
        return counts

    def settled(self) -> dict[str, int]:
        """Counters once all that was begun is counted as made: a reader may have its shard before that."""
        return self.until(
            lambda counts: counts["computed"] + counts["from_disk"] >= counts["misses"] + counts["prefetched"]
        )


def store_config(
    tokens: dict[str, str], model: str, kept: int, cache_dir: Path | None = None, identity: str = ""
) -> StoreConfig:
    return StoreConfig(
        spec=ShardSpec(model, identity or fingerprint(model), HOOKPOINTS, "float16"),
        tokens=tokens,
        blocks_per_shard=BLOCKS,
        shard_bytes=SHARD_BYTES,
        max_bytes=kept * SHARD_BYTES,
        stores=1,
        cache_dir=str(cache_dir) if cache_dir else None,
        extractors=1,
        extractor_options={"num_cpus": 0},
    )


@pytest.fixture(scope="module")
def open_store(tiny_model: Path, tokens: dict[str, str]) -> Callable[..., contextlib.AbstractContextManager[Store]]:
    """Starts a store over the tiny model and ends it with the block."""

    @contextlib.contextmanager
    def opened(
        *, kept: int = len(SHARDS), cache_dir: Path | None = None, loads: str = "", identity: str = ""
    ) -> Iterator[Store]:
        store = Store(store_config(tokens, loads or str(tiny_model), kept, cache_dir, identity))
        try:
            yield store
        finally:
            ray.kill(store.broker)

    return opened


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("activations")


@pytest.fixture(scope="module")
def roomy(open_store: Any, cache_dir: Path) -> Iterator[Store]:
    """A store with room for every shard that also writes them to disk."""
    with open_store(cache_dir=cache_dir) as store:
        yield store


@pytest.fixture(scope="module")
def tight(open_store: Any) -> Iterator[Store]:
    """A store with room for three shards."""
    with open_store(kept=3) as store:
        yield store


@pytest.fixture(scope="module")
def expected(roomy: Store) -> dict[tuple[str, int, int], bytes]:
    return roomy.contents()


def children(title: str) -> Iterator[int]:
    """Processes below this one whose command line starts with `title` or runs a program of that name."""
    parents, lines = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            state, parent = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(entry.name)] = int(parent)
                lines[int(entry.name)] = (entry / "cmdline").read_bytes().partition(b"\0")[0].decode()
    for pid, line in lines.items():
        ancestor = pid
        while ancestor in parents and ancestor != os.getpid():
            ancestor = parents[ancestor]
        if ancestor == os.getpid() and (line.startswith(title) or Path(line).name == title):
            yield pid


def new_process(title: str, there: set[int]) -> int:
    """The process that comes to have this title."""
    deadline = time.monotonic() + WAIT_S
    while not (found := set(children(title)) - there):
        assert time.monotonic() < deadline, f"no {title}"
        time.sleep(0.05)
    (pid,) = found
    return pid


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


# --- one forward for all ---


def test_many_readers_share_one_forward_per_shard(roomy: Store) -> None:
    """Readers start together, so that they ask for the same shards while those are being computed."""
    places = [(*shard, hookpoint) for shard in SHARDS for hookpoint in (0, 1)]

    def read_all(reader: int) -> list[bytes]:
        return [roomy.read(*place).values_TD.tobytes() for place in (places if reader % 2 else places[::-1])]

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(read_all, range(6)))
    assert found[0] == found[2] == found[4] == found[1][::-1] == found[3][::-1] == found[5][::-1]
    counts = roomy.settled()
    assert counts["computed"] == counts["misses"] == len(SHARDS)
    assert counts["hits"] == 6 * len(places) - len(SHARDS)
    assert counts["evictions"] == counts["prefetched"] == counts["from_disk"] == 0
    assert counts["kept_bytes"] == len(SHARDS) * SHARD_BYTES


def test_the_shards_are_the_models_activations(
    roomy: Store, expected: dict[tuple[str, int, int], bytes], tiny_model: Path, tokens: dict[str, str]
) -> None:
    model = LanguageModel.load(str(tiny_model))
    for split, index in (("train", 0), ("train", TRAIN - 1), ("val", 1)):
        tokens_NL = np.load(tokens[split])[index * BLOCKS : (index + 1) * BLOCKS]
        captured = model.capture(torch.from_numpy(tokens_NL), HOOKPOINTS)
        for hookpoint, name in enumerate(HOOKPOINTS):
            stored_TD = np.frombuffer(expected[split, index, hookpoint], np.float16).reshape(-1, WIDTH)
            want_TD = captured[name].reshape(-1, WIDTH).float().numpy()
            # The model may run on another number of threads here, and round differently by a bit.
            np.testing.assert_allclose(stored_TD, want_TD, rtol=2e-3, atol=2e-3)
    assert roomy.read("train", TRAIN - 1).usable_T.sum() == (BLOCKS - 5) * (LENGTH - 1)


def test_readers_see_the_store_itself(roomy: Store) -> None:
    first, second = (roomy.read("train", 0).values_TD for _ in range(2))
    assert not first.flags.writeable and not first.flags.owndata
    assert np.shares_memory(first, second)


# --- eviction and prefetching ---


def test_the_least_recently_used_shard_goes_first(tight: Store, expected: dict[tuple[str, int, int], bytes]) -> None:
    before = tight.settled()

    def read(index: int) -> dict[str, int]:
        assert tight.read("train", index, 1).values_TD.tobytes() == expected["train", index, 1]
        counts = tight.counts()
        return {name: counts[name] - before[name] for name in ("misses", "hits")}

    held = tight.read("train", 0)
    read(1)
    assert read(2) == {"misses": 3, "hits": 0}
    assert read(0) == {"misses": 3, "hits": 1}
    assert read(3) == {"misses": 4, "hits": 1}  # 1 goes
    assert read(0) == {"misses": 4, "hits": 2}
    assert read(2) == {"misses": 4, "hits": 3}
    assert read(1) == {"misses": 5, "hits": 3}  # 3 goes, 1 is computed again
    for index in (4, 5, 6):
        read(index)
    counts = tight.until(lambda counts: counts["computed"] == before["computed"] + 8)
    assert counts["evictions"] == before["evictions"] + before["kept_bytes"] // SHARD_BYTES + 5
    assert counts["kept_bytes"] == 3 * SHARD_BYTES
    assert held.values_TD.tobytes() == expected["train", 0, 0]  # evicted, but not from under its reader


def test_upcoming_shards_are_started_within_the_budget(
    tight: Store, expected: dict[tuple[str, int, int], bytes]
) -> None:
    tight.read("val", 0)
    before = tight.settled()

    def since() -> tuple[int, ...]:
        counts = tight.counts()
        return tuple(counts[name] - before[name] for name in ("hits", "misses", "prefetched"))

    tight.read("train", 0, upcoming=(1, 2, 3, 4))
    tight.until(lambda counts: counts["computed"] == before["computed"] + 3)
    assert since() == (0, 1, 2)
    # The next reader keeps 1 and not 0, since it says that it will want it.
    tight.read("train", 2, upcoming=(1, 5))
    assert since() == (1, 1, 3)
    assert tight.read("train", 1).values_TD.tobytes() == expected["train", 1, 0]
    tight.until(lambda counts: counts["computed"] == before["computed"] + 4)
    assert since() == (2, 1, 3)
    assert tight.counts()["kept_bytes"] == 3 * SHARD_BYTES


def test_a_reader_that_stands_still_stops_no_other(
    open_store: Any, expected: dict[tuple[str, int, int], bytes]
) -> None:
    """Two of the three places are for what it has announced; the other reader's whole epoch goes through the third."""
    with open_store(kept=3) as store:

        def read(order: list[int]) -> None:
            for place, index in enumerate(order):
                found = store.read("train", index, upcoming=tuple(order[place + 1 : place + 3]))
                assert found.values_TD.tobytes() == expected["train", index, 0]
                assert store.counts()["kept_bytes"] <= 3 * SHARD_BYTES

        slow, fast = list(range(TRAIN)), list(range(TRAIN))[::-1]
        read(slow[:1])
        store.read("train", slow[0], upcoming=(slow[1], slow[2]))
        read(fast)
        read(slow[1:])
        counts = store.settled()
    assert counts["computed"] <= 2 * TRAIN, "no more than without sharing"
    assert counts["again"] == counts["computed"] - TRAIN


def test_what_a_broker_remembers_does_not_grow_with_what_is_read(tiny_model: Path, tokens: dict[str, str]) -> None:
    """With room for three shards all are made in every round; the broker is in this process, to look into."""
    broker = Broker(store_config(tokens, str(tiny_model), kept=3))

    async def sizes_after_a_round() -> dict[str, int]:
        for split, index in SHARDS:
            await broker.shard(split, index, [])
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
        return {name: len(value) for name, value in vars(broker).items() if isinstance(value, Collection)}

    async def rounds() -> list[dict[str, int]]:
        return [await sizes_after_a_round() for _ in range(3)]

    first, *later = asyncio.run(rounds())
    assert broker.counts["computed"] == 3 * len(SHARDS)
    assert "made" in first and later == [first, first]


# --- losses ---


def test_a_killed_extractor_costs_only_time(tight: Store, expected: dict[tuple[str, int, int], bytes]) -> None:
    """It stands still from the moment when it has made some shards, so that it is killed with others to make."""
    for index in (0, 1):
        tight.read("train", index)
    before = tight.settled()
    os.kill(tight.extractor_pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(tight.contents)
        try:
            counts = tight.until(lambda counts: counts["misses"] > before["misses"])
            assert counts["computed"] == before["computed"]
        finally:
            kill(tight.extractor_pid)
        assert reading.result(WAIT_S) == expected


def test_readers_survive_the_brokers_death(open_store: Any, expected: dict[tuple[str, int, int], bytes]) -> None:
    """Its shards die with it, finished or not. Every reader recovers, and none makes another's recovery void."""
    with open_store() as store, ThreadPoolExecutor(3) as pool:
        held = store.read("train", 0)
        lost = ray.get(store.broker.shard.remote("train", 1, []))[0]
        reading = [pool.submit(store.contents) for _ in range(3)]
        store.until(lambda counts: counts["computed"] >= 2)
        kill(store.broker_pid)
        for contents in reading:
            assert contents.result(2 * WAIT_S) == expected
        assert held.values_TD.tobytes() == expected["train", 0, 0]
        assert store.read("train", 1).values_TD.tobytes() == expected["train", 1, 0]
        counts = store.settled()
        assert counts["computed"] == counts["misses"] <= len(SHARDS)
        # A reader that only now meets the loss does not cost another forward.
        with pytest.raises(ray.exceptions.OwnerDiedError):
            ray.get(lost, timeout=WAIT_S)
        assert not ray.get(store.broker.employs.remote(maker_of(lost)))
        ray.get(store.broker.forget.remote("train", 1, lost.hex()))
        store.read("train", 1)
        assert store.settled()["computed"] == counts["computed"]


def test_a_reader_waits_as_long_as_a_shard_takes_and_no_longer_than_its_broker_lives(
    open_store: Any, expected: dict[tuple[str, int, int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray may never say that the owner of a reference has died; another broker stands for the one that came after."""
    monkeypatch.setattr(lost_shards, "LOOK_SECONDS", 0.05)
    looks: list[Any] = []
    with open_store() as store, open_store() as other, ThreadPoolExecutor(1) as pool:
        store.read("train", 0)
        os.kill(store.extractor_pid, signal.SIGSTOP)
        try:
            broker = Watched(store.broker, looks)
            reading = pool.submit(tables_of, broker, "train", 1, [0], [])
            wait_until(lambda: len(looks) >= 3)
            late = ray.get(store.broker.shard.remote("train", 2, []))[:1]
            with pytest.raises(ray.exceptions.ObjectLostError):
                lost_shards.when_there(other.broker, late)
        finally:
            os.kill(store.extractor_pid, signal.SIGCONT)
        reading.result(WAIT_S)
        assert store.settled()["misses"] == 3, "it asked for its shard once"
        assert store.read("train", 1).values_TD.tobytes() == expected["train", 1, 0]


class Watched:
    """A broker, and how often it was asked whether an extractor is its own."""

    def __init__(self, broker: Any, looks: list[Any]) -> None:
        self._broker, self._looks = broker, looks

    def __getattr__(self, name: str) -> Any:
        if name == "employs":
            self._looks.append(name)
        return getattr(self._broker, name)


# --- disk ---


def test_a_later_store_reads_the_disk_and_loads_no_model(
    open_store: Any, expected: dict[tuple[str, int, int], bytes], cache_dir: Path, tiny_model: Path
) -> None:
    assert len(list(cache_dir.glob("*/*.arrow"))) == len(SHARDS) * len(HOOKPOINTS)
    with open_store(cache_dir=cache_dir, loads="/nowhere", identity=fingerprint(str(tiny_model))) as store:
        assert store.contents() == expected
        counts = store.settled()
    assert (counts["computed"], counts["from_disk"]) == (0, len(SHARDS))


# --- bad activations ---


def test_nan_stops_the_readers_of_its_hookpoint_only(
    open_store: Any, expected: dict[tuple[str, int, int], bytes], tiny_model: Path, tmp_path: Path
) -> None:
    poisoned = tmp_path / "poisoned"
    shutil.copytree(tiny_model, poisoned)
    weights = load_file(poisoned / "model.safetensors")
    weights["model.layers.2.mlp.down_proj.weight"][0, 0] = float("nan")
    save_file(weights, poisoned / "model.safetensors", {"format": "pt"})
    with open_store(loads=str(poisoned), cache_dir=tmp_path / "cache") as store:
        for _ in range(2):
            with pytest.raises(ActivationError, match=r"^hookpoint layers\.2\.mlp: 2048 of 2048 tokens have NaN"):
                store.read("train", 0, 1)
            assert store.read("train", 0, 0).values_TD.tobytes() == expected["train", 0, 0]
        assert store.settled()["computed"] == 1
        assert len(list((tmp_path / "cache").glob("*/*.arrow"))) == 1
