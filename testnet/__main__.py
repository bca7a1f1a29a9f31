"""`python -m testnet DIR [--leash]`: the supervisor of a folder's testnet, in the background.

What `aios testnet up --detach`, the demo and the benchmarks start.
"""

import argparse
import logging
import sys
from functools import partial
from pathlib import Path

import trio

from p2p_aios.errors import AiosError
from testnet.layout import layout_at
from testnet.readiness import until_ready
from testnet.roster import stages_of
from testnet.supervise import LOG, supervise


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m testnet")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--leash", action="store_true", help="go down when stdin closes")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # Each poll of a node's RPC would otherwise be a line.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    run = partial(
        supervise,
        layout_at(arguments.folder),
        stages_of,
        until_ready,
        leash=sys.stdin.fileno() if arguments.leash else None,
    )
    try:
        trio.run(run)
    except AiosError as error:
        LOG.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
