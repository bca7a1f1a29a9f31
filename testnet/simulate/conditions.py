"""What a simulated world is like; all of it follows from a seed."""

import random
from dataclasses import dataclass, field, replace

VILLAINS = (
    "equivocator",
    "nuller",
    "silent",
    "withholder",
    "finalizer",
    "garbler",
    "timewarper",
    "doubledealer",
    "replayer",
    "splitter",
    "hoarder",
    "latecomer",
)
"""Names of the dishonest validators in `testnet.simulate.villains`."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens to validators or links for a while."""

    at_ms: int
    until_ms: int
    kind: str
    """`crash`, `amnesia` (a crash that also loses the journal), or `partition`."""
    members: tuple[int, ...]
    """Who crashes; or one side of the partition."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """A world's parameters; times in virtual milliseconds."""

    seed: int = 0
    nodes: int = 4
    villains: dict[int, str] = field(default_factory=dict)
    """Index of a validator to its villainy."""
    duration_ms: int = 20_000
    heal_ms: int = 12_000
    """From here on no faults and no losses; villains go on."""
    delay_ms: tuple[int, int] = (10, 30)
    spike_share: float = 0.0
    """Part of the messages that take up to ten times as long."""
    loss_share: float = 0.0
    duplicate_share: float = 0.0
    build_ms: tuple[int, int] = (8, 12)
    verify_ms: tuple[int, int] = (8, 12)
    sync_ms: tuple[int, int] = (1, 4)
    """Time to make records durable."""
    crash_in_persist_share: float = 0.0
    """Chance that a persist is interrupted by a crash, before or after it is durable."""
    skew_ms: int = 0
    """Clocks differ by up to this much either way."""
    wrong_clocks_ms: dict[int, int] = field(default_factory=dict)
    """Index of a validator to how far its clock is off; instead of a drawn skew."""
    detect_ms: int = 20
    """From a crash to its peers' noticing."""
    epoch_blocks: int = 20
    faults: tuple[Fault, ...] = ()
    weights: tuple[int, int] = (100, 100)
    """Bounds of the members' weights, drawn anew each epoch."""


def draw_conditions(seed: int, nodes: int = 4, villainy: str | None = None) -> Conditions:
    """A world drawn from a seed: mostly unpleasant. With `villainy` it has as many villains as a
    committee bears, all of this kind; a world that is so by itself is then the same."""
    dice = random.Random(f"conditions/{seed}/{nodes}")
    fault_tolerance = (nodes - 1) // 3
    drawn = dice.choice((0, fault_tolerance))
    villain_count = drawn if villainy is None else fault_tolerance
    villains = {i: dice.choice(VILLAINS) for i in dice.sample(range(nodes), villain_count)}
    if villainy is not None:
        villains = dict.fromkeys(villains, villainy)
    honest = [i for i in range(nodes) if i not in villains]
    low = dice.choice((1, 5, 20, 60))
    conditions = Conditions(
        seed=seed,
        nodes=nodes,
        villains=villains,
        delay_ms=(low, low * dice.choice((1, 3, 5))),
        spike_share=dice.choice((0.0, 0.0, 0.05)),
        loss_share=dice.choice((0.0, 0.02, 0.1, 0.3)),
        duplicate_share=dice.choice((0.0, 0.1)),
        verify_ms=dice.choice(((2, 8), (10, 100))),
        crash_in_persist_share=dice.choice((0.0, 0.01, 0.05)),
        skew_ms=dice.choice((0, 50, 120)),
        detect_ms=dice.choice((5, 100, 2000)),
        epoch_blocks=dice.choice((3, 8, 20, 1000)),
        weights=dice.choice(((100, 100), (100, 120))),
    )
    return replace(conditions, faults=_draw_faults(dice, conditions, honest))


def _draw_faults(
    dice: random.Random, conditions: Conditions, honest: list[int]
) -> tuple[Fault, ...]:
    faults = []
    for _ in range(dice.choice((0, 1, 2, 4))):
        at = dice.randrange(500, conditions.heal_ms - 1000)
        until = min(conditions.heal_ms, at + dice.choice((200, 1500, 6000)))
        if dice.random() < 0.4:
            side = dice.sample(range(conditions.nodes), dice.randrange(1, conditions.nodes))
            faults.append(Fault(at, until, "partition", tuple(sorted(side))))
        else:
            count = dice.choice((1, 1, 2, len(honest)))
            victims = tuple(sorted(dice.sample(honest, min(count, len(honest)))))
            faults.append(Fault(at, until, "crash", victims))
    if not conditions.villains and conditions.epoch_blocks < 20 and dice.random() < 0.5:
        at = dice.randrange(3000, conditions.heal_ms - 1000)
        faults.append(Fault(at, at + 800, "amnesia", (dice.choice(honest),)))
    return tuple(faults)
