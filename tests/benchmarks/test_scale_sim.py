"""What a simulation of a cluster must keep to, whatever the rates are."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.scale.cluster import Layout, layout
from benchmarks.scale.outcome import outcome
from benchmarks.scale.rates import MEASURED, Figure, Rates, assumed, rates
from benchmarks.scale.simulate import Options, Simulation, Totals
from benchmarks.scale.workload import VAL_SHARE, Work, Workload
from benchmarks.scale_sim import main

FREE = dict.fromkeys(
    ("broker_call_seconds", "driver_trial_seconds", "trial_start_seconds", "trial_change_seconds", "jitter"), 0.0
)
INFINITE = {"network_bytes_per_second": 1e30, "disk_bytes_per_second": 1e30, "node_store_bytes": 1e15}
EXTRACT = 0.01


def given(**values: float) -> Rates:
    figures = assumed("H100", 2e12)
    for name, value in (FREE | INFINITE | values).items():
        figures[name] = Figure(value, "", "assumed", "the test")
    return Rates("H100", figures)


def work(trials: int = 12, shards: int = 20, seeds: int = 3, extract: float = EXTRACT) -> Workload:
    works = [Work(number % 2, number % seeds, 1.0 + number % 4) for number in range(trials)]
    works.sort(key=lambda each: -each.shard_seconds)
    return Workload(works, shards, 3, 1000, shard_bytes=200, table_bytes=100, extract_seconds=extract)


def where(slots: int, nodes: int = 1, extractors: int = 1) -> Layout:
    return Layout(
        slots + extractors, nodes, [number % nodes for number in range(extractors)], [i % nodes for i in range(slots)]
    )


def simulated(place: Layout, what: Workload, found: Rates, **options: object) -> tuple[Simulation, Totals]:
    sim = Simulation(place, what, found, Options(**options))
    return sim, sim.run()


def test_one_gpu_takes_the_time_of_all_trials_after_each_other() -> None:
    what = work(extract=0.0)
    sim, totals = simulated(where(1), what, given())
    assert totals.seconds == pytest.approx(what.seconds)
    assert totals.waited == pytest.approx(0.0)
    assert sim.store.made == len(sim.store.distinct) == what.shards + what.val_shards


@pytest.mark.parametrize("losses", [0.0, 20.0])
@pytest.mark.parametrize("budget", [None, 1000.0])
def test_every_trial_trains_on_every_shard_once(losses: float, budget: float | None) -> None:
    what = work()
    _, totals = simulated(
        where(4, nodes=2), what, given(), losses_per_node_hour=losses, replacement_seconds=30.0, checkpoint_shards=5,
        budget=budget,
    )  # fmt: skip
    assert totals.trained - totals.repeated == len(what.trials) * what.shards
    assert (totals.losses > 0) == (losses > 0)
    assert (totals.repeated > 0) == (losses > 0)
    if not losses:
        assert totals.busy == pytest.approx(what.seconds)
        assert totals.calls == len(what.trials) * (what.shards + what.val_shards)
    assert totals.waited + totals.busy + totals.started + totals.down <= 4 * totals.seconds + 1e-6


def test_a_store_that_holds_everything_computes_nothing_again() -> None:
    sim, _ = simulated(where(6, nodes=3, extractors=2), work(), given())
    assert sim.store.made == len(sim.store.distinct)
    assert sim.store.kept.counts["evictions"] == sim.store.spilled_bytes == 0


def test_a_small_store_computes_again_and_the_less_the_more_it_holds() -> None:
    made = [simulated(where(4), work(), given(), budget=budget)[0].store.made for budget in (800.0, 2400.0, 4600.0)]
    assert made[0] > made[1] > made[2] == 23


def test_one_order_for_all_spares_a_small_store() -> None:
    own, one = (
        simulated(where(4), work(), given(), budget=1600.0, orders=orders)[0].store.made
        for orders in ("seed", "shared")
    )
    assert one < own


def test_more_gpus_never_take_longer_where_nothing_is_scarce() -> None:
    times = [simulated(where(slots), work(extract=0.0), given())[1].seconds for slots in (1, 2, 3, 4, 6, 12, 24)]
    assert times == sorted(times, reverse=True)
    longest = 4.0 * (20 + VAL_SHARE * 3)
    assert times[-1] == pytest.approx(longest)


def test_a_slow_broker_a_slow_network_and_a_slow_extractor_are_named() -> None:
    place = where(8, nodes=2)
    found = {
        "broker": (given(broker_call_seconds=1.0), work()),
        "network": (given(network_bytes_per_second=20.0), work()),
        "extraction": (given(), work(extract=30.0)),
        "nothing": (given(), work(trials=8)),
    }
    for name, (figures, what) in found.items():
        assert outcome("", place, [what], figures, Options(), 1.0).gives_way == name


def test_bytes_of_the_network_are_those_of_fetched_tables() -> None:
    """Two nodes, shards on the first: the trials of the other fetch each table once and then have a copy."""
    place = Layout(3, 2, [0], [0, 1])
    sim, _ = simulated(place, work(trials=2, seeds=1), given())
    assert sim.store.network_bytes == 100 * (20 + 3)
    sim, _ = simulated(where(2), work(trials=2), given())
    assert sim.store.network_bytes == 0


def test_shards_beyond_a_nodes_store_are_spilled() -> None:
    sim, totals = simulated(where(2), work(), given(node_store_bytes=1000, disk_bytes_per_second=100.0), budget=1e9)
    assert sim.store.spilled_bytes == (23 - 5) * 200
    assert totals.causes["disk"] > 0


def test_the_seed_decides_everything() -> None:
    def once(seed: int) -> object:
        sim, totals = simulated(
            where(4, nodes=2), work(), given(network_bytes_per_second=200.0), seed=seed, losses_per_node_hour=20.0,
            replacement_seconds=10.0, checkpoint_shards=5, budget=2000.0,
        )  # fmt: skip
        return totals, sim.store.made, sim.store.network_bytes

    assert once(1) == once(1)
    assert once(1) != once(2)


def test_gpus_are_divided_as_sweeps_divide_them() -> None:
    place = layout(64)
    assert (place.nodes, len(place.extractors), len(place.slots)) == (8, 8, 56)
    assert place.extractors == [0, 0, 0, 0, 1, 1, 1, 1]
    assert layout(64, placement="spread").extractors == list(range(8))
    for gpus in (8, 12, 128):
        assert len(layout(gpus).slots) + len(layout(gpus).extractors) == gpus


def test_measured_rates_take_the_place_of_assumed_ones() -> None:
    found = rates()
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))["figures"]
    assert measured
    for name, figure in found.figures.items():
        assert figure.source == ("measured" if name in measured else "assumed")
    assert rates(given={"jitter": 0.5}).figures["jitter"] == replace(
        found.figures["jitter"], value=0.5, source="assumed", where="given on the command line"
    )
    with pytest.raises(ValueError, match="rate 'nothing': allowed are extract_flops"):
        rates(given={"nothing": 1.0})


def test_the_command_prints_and_writes_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--trials", "40", "--train-tokens", str(1 << 22), "--gpus", "8", "16", "--out", str(tmp_path / "out.json")]
    ways = ["as it is", "by hookpoint", "spot"]
    assert main([*small, "--way", *ways]) == 0
    said = capsys.readouterr().out
    assert "| measured |" in said and "| assumed |" in said
    content = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [(row["way"], row["gpus"]) for row in content["rows"]] == [(way, gpus) for way in ways for gpus in (8, 16)]
    assert {"device", "machine", "date"} <= content["about"].keys()
    assert main([*small, "--set", "nothing=1"]) == 2
