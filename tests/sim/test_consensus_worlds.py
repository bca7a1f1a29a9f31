"""Seeded worlds: the invariants of `testnet.simulate.invariants` hold in every one of them."""

from itertools import pairwise

import pytest

from testnet.simulate.conditions import VILLAINS, Conditions, Fault, draw_conditions
from testnet.simulate.figures import world_figures
from testnet.simulate.villains import KINDS
from testnet.simulate.world import World, run_world

COURIERS = ["silent", "withholder", "replayer", "splitter", "hoarder", "latecomer"]
"""Villains whose every word is true."""


def test_every_villain_can_be_drawn() -> None:
    assert tuple(KINDS) == VILLAINS


@pytest.mark.parametrize("seed", range(8))
def test_drawn_worlds_keep_every_promise(seed: int) -> None:
    run_world(draw_conditions(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [*range(8, 16), *range(1000, 1150)])
def test_many_drawn_worlds_keep_every_promise(seed: int) -> None:
    run_world(draw_conditions(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_drawn_worlds_of_seven_keep_every_promise(seed: int) -> None:
    run_world(draw_conditions(seed, nodes=7))


@pytest.mark.parametrize("villainy", VILLAINS)
@pytest.mark.parametrize("seed", range(2))
def test_drawn_worlds_of_one_villainy_keep_every_promise(seed: int, villainy: str) -> None:
    run_world(draw_conditions(seed, villainy=villainy))


@pytest.mark.slow
@pytest.mark.parametrize("villainy", VILLAINS)
@pytest.mark.parametrize(("seed", "nodes"), [*((s, 4) for s in range(2, 12)), (12, 7), (13, 7)])
def test_many_drawn_worlds_of_one_villainy_keep_every_promise(
    seed: int, nodes: int, villainy: str
) -> None:
    run_world(draw_conditions(seed, nodes, villainy))


def test_asking_for_the_villainy_that_a_seed_draws_anyway_changes_nothing() -> None:
    drawn = [draw_conditions(seed) for seed in range(16)]
    hostile = [conditions for conditions in drawn if conditions.villains]
    assert hostile
    for conditions in hostile:
        [villainy] = conditions.villains.values()
        assert draw_conditions(conditions.seed, villainy=villainy) == conditions


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_the_smallest_committees_work(nodes: int) -> None:
    world = run_world(Conditions(nodes=nodes, epoch_blocks=5, heal_ms=0, duration_ms=6000))
    assert world.invariants.nullified_views == 0


def test_the_same_seed_is_the_same_world() -> None:
    one, other = (run_world(draw_conditions(3)) for _ in range(2))
    assert [v.finalized_at for v in one.validators] == [v.finalized_at for v in other.validators]


@pytest.mark.parametrize("villainy", VILLAINS)
def test_a_villain_below_a_third_stops_nobody(villainy: str) -> None:
    world = run_world(
        Conditions(villains={2: villainy}, epoch_blocks=7, duration_ms=15_000, heal_ms=5_000)
    )
    assert world_figures(world)["height"] >= 15


@pytest.mark.parametrize("villainy", ["equivocator", "doubledealer", "finalizer"])
def test_conflicting_votes_become_evidence(villainy: str) -> None:
    world = run_world(Conditions(villains={1: villainy}, duration_ms=8_000, heal_ms=3_000))
    assert world.invariants.evidence


@pytest.mark.parametrize("villainy", COURIERS)
def test_who_signs_nothing_false_leaves_no_proof(villainy: str) -> None:
    world = run_world(Conditions(villains={1: villainy}, duration_ms=8_000, heal_ms=3_000))
    assert not world.invariants.evidence
    assert not world.invariants.refusals


def test_the_pace_of_a_healthy_network() -> None:
    """DESIGN §6: a block every half second; final about one round later."""
    world = run_world(Conditions(duration_ms=20_000, heal_ms=10_000, epoch_blocks=15))
    figures = world_figures(world)
    assert 490 <= figures["block_interval_p50_ms"] <= 510
    assert figures["block_interval_max_ms"] <= 600
    assert figures["finality_p99_ms"] <= 150
    assert figures["nullify_votes"] == 0


def test_leaders_that_contradict_themselves_cost_a_round_trip_not_a_time_out() -> None:
    liars = {0: "equivocator", 1: "equivocator"}
    conditions = Conditions(nodes=7, villains=liars, duration_ms=20_000, heal_ms=0)
    figures = world_figures(run_world(conditions))
    assert figures["nullify_votes"] > 0
    assert figures["height"] >= 30


@pytest.mark.parametrize("delay_ms", [(10, 60), (40, 100)])
def test_slow_links_delay_finality_not_blocks(delay_ms: tuple[int, int]) -> None:
    world = run_world(Conditions(duration_ms=20_000, heal_ms=10_000, delay_ms=delay_ms))
    figures = world_figures(world)
    assert 475 <= figures["block_interval_p50_ms"] <= 525
    assert figures["nullify_votes"] == 0


@pytest.mark.parametrize("detect_ms", [20, 1300, 60_000])
@pytest.mark.parametrize("victim", [0, 1, 2, 3])
def test_a_killed_validator_costs_at_most_two_time_outs(victim: int, detect_ms: int) -> None:
    """A time-out is an interval, 2Δ, and a view's messages: about 1,150 ms between two blocks."""
    killed = Fault(6_000, 24_000, "crash", (victim,))
    world = World(Conditions(faults=(killed,), duration_ms=30_000, detect_ms=detect_ms))
    world.run_until(24_000)
    witness = world.validators[(victim + 1) % 4]
    times = [at for _, at in sorted(witness.finalized_at.items())]
    gaps = [after - before for before, after in pairwise(times)]
    late = [gap for gap in gaps if gap > 700]
    assert max(gaps) <= 1_250
    # The stream's break tells at once; unnoticed, silence tells after `silent_views` views.
    assert len(late) <= (2 if detect_ms <= 1300 else 3)
    assert sum(gap >= 650 for gap in gaps[-10:]) == 0


@pytest.mark.parametrize("epoch_blocks", [1000, 20])
def test_a_validator_down_for_long_catches_up(epoch_blocks: int) -> None:
    """More blocks behind than members keep: within one epoch, and across several."""
    away = Fault(3_000, 50_000, "crash", (3,))
    conditions = Conditions(
        faults=(away,), duration_ms=60_000, heal_ms=52_000, epoch_blocks=epoch_blocks
    )
    world = World(conditions)
    world.run_until(49_000)
    assert world.validators[0].ledger.height > world.validators[3].ledger.height + 80
    world.run_until(52_000)
    assert abs(world.validators[0].ledger.height - world.validators[3].ledger.height) <= 1


def test_all_crash_together_and_go_on() -> None:
    """Nobody's memory is needed: the journals suffice."""
    faults = tuple(Fault(at, at + 300, "crash", (0, 1, 2, 3)) for at in range(1_530, 9_000, 730))
    world = run_world(Conditions(faults=faults, heal_ms=9_500, duration_ms=20_000, epoch_blocks=6))
    assert not world.invariants.evidence


def test_half_the_network_apart_stands_still_and_goes_on_together() -> None:
    split = Fault(4_000, 12_000, "partition", (0, 2))
    world = World(Conditions(faults=(split,), duration_ms=25_000, heal_ms=12_000))
    world.run_until(5_000)
    standing = max(v.ledger.height for v in world.validators)
    world.run_until(12_000)
    assert max(v.ledger.height for v in world.validators) == standing
    world.run_until(20_000)
    assert min(v.ledger.height for v in world.validators) > standing + 8


@pytest.mark.parametrize("off_ms", [-3_600_000, -2_000, 2_000, 3_600_000])
def test_one_wrong_clock_costs_its_owners_turns_only(off_ms: int) -> None:
    world = run_world(Conditions(wrong_clocks_ms={1: off_ms}, duration_ms=30_000, heal_ms=0))
    figures = world_figures(world)
    assert figures["height"] >= 25
    assert 475 <= figures["block_interval_p50_ms"] <= 525
