"""`python -m testnet.simulate --seed S`: live through one world, and tell its figures.

Without further options the world is the one the tests draw from that seed; with `--villain` its
villains are all of that kind. `--calm` is a healthy network of honest validators, to measure the
pace.
"""

import argparse
import json
import time

from testnet.simulate.conditions import VILLAINS, Conditions, Fault, draw_conditions
from testnet.simulate.figures import world_figures
from testnet.simulate.world import run_world


def main() -> None:
    arguments = _parser().parse_args()
    began = time.perf_counter()
    for seed in range(arguments.seed, arguments.seed + arguments.worlds):
        conditions = _conditions(arguments, seed)
        world = run_world(conditions)
        report = {"seed": seed, **world_figures(world)}
        print(json.dumps(report) if arguments.json else _told(report))
    print(f"{arguments.worlds} worlds kept every promise, {time.perf_counter() - began:.1f} s")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m testnet.simulate", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worlds", type=int, default=1, help="this many seeds, from --seed on")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--calm", action="store_true", help="no faults, losses or villains")
    parser.add_argument("--duration-s", type=int, default=60, help="of a calm world")
    parser.add_argument("--kill", type=int, help="validator to kill in a calm world, at 10 s")
    parser.add_argument("--detect-ms", type=int, default=20, help="until peers notice the kill")
    parser.add_argument(
        "--villain", choices=VILLAINS, help="every villain; in a calm world validator 0"
    )
    parser.add_argument("--json", action="store_true")
    return parser


def _conditions(arguments: argparse.Namespace, seed: int) -> Conditions:
    if not arguments.calm:
        return draw_conditions(seed, arguments.nodes, arguments.villain)
    duration_ms = arguments.duration_s * 1000
    faults: tuple[Fault, ...] = ()
    if arguments.kill is not None:
        faults = (Fault(10_000, duration_ms - 10_000, "crash", (arguments.kill,)),)
    return Conditions(
        seed=seed,
        nodes=arguments.nodes,
        villains={0: arguments.villain} if arguments.villain else {},
        duration_ms=duration_ms,
        heal_ms=duration_ms - 5_000,
        detect_ms=arguments.detect_ms,
        epoch_blocks=40,
        faults=faults,
    )


def _told(report: dict[str, int | float]) -> str:
    return "  ".join(f"{name} {value:.0f}" for name, value in report.items())


if __name__ == "__main__":
    main()
