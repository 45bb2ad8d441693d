"""The actors that keep a sweep's shards, one per model, and what they may spend."""

import logging
from typing import Any

import ray

from orchestrator.activations.store import LEAST_KEPT, StoreConfig, start_broker
from orchestrator.activations.tables import ShardSpec
from orchestrator.driver.inputs import Inputs
from orchestrator.driver.prepare import Prepared
from orchestrator.errors import UserError
from orchestrator.grid.config import SweepConfig

ANSWER_SECONDS = 10.0
"""A broker that is being started again answers late."""

log = logging.getLogger(__name__)


def start(prepared: Prepared, inputs: Inputs) -> Any:
    """Start the broker of one model's shards. Raises UserError where its share of the object store is too small."""
    cfg, shares, model = prepared.cfg, prepared.shares, inputs.model
    names = tuple(point.name for point in prepared.hookpoints[model])
    shard_bytes = prepared.plan.shard_bytes[model]
    budget = cfg.store_gb * 1e9 if cfg.store_gb else ray.cluster_resources()["object_store_memory"] / 2
    if cfg.store_gb or not prepared.hardware.cluster:  # that of a cluster may grow when nodes come
        _check_budget(budget / len(cfg.model), shard_bytes, len(cfg.model))
    if model == cfg.model[0]:
        _tell_of_evictions(prepared, budget)
    store = StoreConfig(
        spec=ShardSpec(inputs.location, inputs.identity["model.fingerprint"], names, cfg.shard_dtype),
        tokens={split: str(inputs.blocks_file(split)) for split in ("train", "val")},
        blocks_per_shard=cfg.blocks_per_shard,
        shard_bytes=shard_bytes,
        max_bytes=int(cfg.store_gb * 1e9) if cfg.store_gb else None,
        stores=len(cfg.model),
        cache_dir=str(cfg.cache_dir.resolve()) if cfg.cache_dir else None,
        extractors=shares.extractors,
        extractor_options=shares.extractor,
        extractor_threads=shares.extractor_threads,
    )
    return start_broker(broker_name(cfg, model), store)


def _check_budget(budget: float, shard_bytes: int, models: int) -> None:
    """Raises UserError where one model's part of the store cannot hold what is read at any time."""
    if budget < LEAST_KEPT * shard_bytes:
        needed = LEAST_KEPT * shard_bytes * models / 1e9
        raise UserError(
            f"store_gb {budget / 1e9:.3g}: must hold {LEAST_KEPT} shards, {needed:.3g} GB; "
            "raise it or lower --shard-tokens"
        )


def _tell_of_evictions(prepared: Prepared, budget: float) -> None:
    """Each trial has an order of its own: where not all shards are kept, nearly every one is made for every trial."""
    wanted = prepared.plan.store_bytes
    if wanted > budget and prepared.cfg.cache_dir is None:
        log.warning(
            "the object store keeps %.3g GB of %.3g GB of activations; the rest is computed again whenever it is read: "
            "--cache-dir DIR keeps it on disk, and fewer hookpoints in one sweep need less",
            budget / 1e9, wanted / 1e9,
        )  # fmt: skip


def broker_name(cfg: SweepConfig, model: str) -> str:
    """The name under which trials find the broker of a model."""
    return f"broker-{cfg.model.index(model)}"


def counters(brokers: list[Any]) -> dict[str, int]:
    """Shard counters summed over the brokers of all models; empty where one does not answer: no one waits for it."""
    try:
        counts = ray.get([broker.counters.remote() for broker in brokers], timeout=ANSWER_SECONDS)
    except ray.exceptions.RayError:
        return {}
    return {key: sum(count[key] for count in counts) for key in counts[0]}


def store_used_bytes() -> float:
    """Bytes in the object stores of all nodes, as of a moment ago."""
    there, free = ray.cluster_resources(), ray.available_resources()
    return float(there.get("object_store_memory", 0.0) - free.get("object_store_memory", 0.0))
