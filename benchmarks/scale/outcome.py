"""What a simulated sweep comes to: time, idle GPUs, bytes, shards computed again, money, and what gives way first."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.scale.cluster import Layout
from benchmarks.scale.rates import Rates
from benchmarks.scale.simulate import Options, Simulation
from benchmarks.scale.workload import Workload

WAITING = 0.05
"""Share of the trials' GPU time spent waiting above which something is said to give way."""


@dataclass(frozen=True)
class Outcome:
    """One row of the table."""

    way: str
    gpus: int
    extractors: int
    hours: float
    tokens_per_second: float
    idle: float
    """Share of all GPUs' time without training, scoring or extraction."""
    waiting: float
    """Share of the trials' GPUs' time."""
    tail: float
    """The same, with no trial left to run."""
    computed: int
    again: int
    """Shards computed after they were dropped or lost."""
    rebuilt: int
    """Of these, lost with a node."""
    repeated: int
    """Shards trained on again after a loss."""
    network_bytes: int
    spilled_bytes: int
    made_bytes: int
    calls_per_second: float
    busy: dict[str, float]
    """Share of the time that each part was busy; of several the busiest."""
    waits: dict[str, float]
    """Share of the trials' GPUs' time by what they waited for."""
    gives_way: str
    """What most of the waiting was for."""
    price: float

    def to_json(self) -> dict[str, object]:
        """JSON form."""
        return asdict(self)


def outcome(
    way: str, where: Layout, works: Sequence[Workload], rates: Rates, options: Options, gpu_hour: float
) -> Outcome:
    """Simulate one sweep, or several after each other on the same cluster, and say what they come to together."""
    sims = [Simulation(where, work, rates, options) for work in works]
    totals = [sim.run() for sim in sims]
    seconds = sum(total.seconds for total in totals)
    slot_seconds, gpu_seconds = len(where.slots) * seconds, where.gpus * seconds
    trained = sum(total.busy for total in totals)
    waited = sum(total.waited for total in totals)
    used = trained + waited + sum(total.started + total.down for total in totals)
    made = sum(sim.store.made + sim.store.rebuilt for sim in sims)
    extracting = sum(extractor.line.busy for sim in sims for extractor in sim.store.extractors)
    busy = _busy(sims, seconds)
    causes = sorted({cause for total in totals for cause in total.causes})
    waits = {cause: sum(total.causes[cause] for total in totals) / slot_seconds for cause in causes}
    return Outcome(
        way=way, gpus=where.gpus, extractors=len(where.extractors), hours=seconds / 3600,
        tokens_per_second=sum(len(work.trials) * work.shards * work.shard_tokens for work in works) / seconds,
        idle=1 - (trained + extracting) / gpu_seconds, waiting=waited / slot_seconds,
        tail=max(0.0, 1 - used / slot_seconds),
        computed=made, again=made - sum(len(sim.store.distinct) for sim in sims),
        rebuilt=sum(sim.store.rebuilt for sim in sims), repeated=sum(total.repeated for total in totals),
        network_bytes=sum(sim.store.network_bytes for sim in sims),
        spilled_bytes=sum(sim.store.spilled_bytes for sim in sims),
        made_bytes=sum((sim.store.made + sim.store.rebuilt) * sim.work.shard_bytes for sim in sims),
        calls_per_second=sum(total.calls for total in totals) / seconds, busy=busy,
        waits=waits, gives_way=max(waits, key=waits.__getitem__) if waited > WAITING * slot_seconds else "nothing",
        price=gpu_seconds / 3600 * gpu_hour,
    )  # fmt: skip


def _busy(sims: Sequence[Simulation], seconds: float) -> dict[str, float]:
    nodes = [[sim.store.nodes[node] for sim in sims] for node in range(len(sims[0].store.nodes))]
    return {
        "extraction": max(
            sum(sim.store.extractors[number].line.busy for sim in sims)
            for number in range(len(sims[0].store.extractors))
        ) / seconds,
        "network": max(
            max(sum(part.out.busy for part in node), sum(part.into.busy for part in node)) for node in nodes
        ) / seconds,
        "disk": max(sum(part.disk.busy for part in node) for node in nodes) / seconds,
        "broker": sum(sim.store.broker.busy for sim in sims) / seconds,
        "driver": sum(sim.driver.busy for sim in sims) / seconds,
    }  # fmt: skip


def markdown(rows: Sequence[Outcome]) -> str:
    """The table."""
    head = [
        "GPUs", "way", "extractors", "hours", "M tokens/s", "idle", "waiting", "no trial left", "shards made", "again",
        "network, TB", "store, TB", "spilled, TB", "calls/s", "gives way", "busy", "price, $",
    ]  # fmt: skip
    lines = [head, ["---"] * len(head), *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: Outcome) -> list[str]:
    name, share = max(row.busy.items(), key=lambda item: item[1])
    return [
        str(row.gpus), row.way, str(row.extractors), f"{row.hours:.2f}", f"{row.tokens_per_second / 1e6:.1f}",
        f"{row.idle:.0%}", f"{row.waiting:.0%}", f"{row.tail:.0%}", f"{row.computed:,}", f"{row.again:,}",
        f"{row.network_bytes / 1e12:.2f}", f"{row.made_bytes / 1e12:.2f}", f"{row.spilled_bytes / 1e12:.2f}",
        f"{row.calls_per_second:.0f}", row.gives_way, f"{name} {share:.0%}", f"{row.price:,.0f}",
    ]  # fmt: skip
