"""What benchmarks do must be what they say: the load they send, the blocks they execute."""

import os
from collections import Counter
from pathlib import Path

import pytest

from p2p_aios.crypto.keys import KeyPair
from p2p_aios.errors import InvariantBroken
from p2p_aios.node.identity import load_genesis
from p2p_aios.types.genesis import chain_id
from p2p_aios.types.transaction import check_transaction
from p2p_aios.units import Amount
from testnet.bench import execute, tx
from testnet.bench.command import BENCHES, load_bench
from testnet.bench.usage import node_pids, usage_of
from testnet.creation import Wish, create
from testnet.layout import layout_at
from testnet.processes import ProcessId
from testnet.state import EnsembleState

KEYS = [KeyPair.from_secret(number.to_bytes(32, "big")) for number in range(1, 801)]


@pytest.mark.parametrize("name", BENCHES)
def test_each_says_what_it_measures(name: str) -> None:
    bench = load_bench(name)
    assert name == bench.NAME
    assert callable(bench.measure)


def test_the_load_is_valid_and_each_account_keeps_to_one_node_in_order(tmp_path: Path) -> None:
    layout = layout_at(tmp_path / "net")
    funds = tuple((key.address, Amount(7)) for key in KEYS)
    create(layout, Wish(nodes=1, workers=0, has_ray=False, funds=funds))
    genesis = load_genesis(layout.genesis_file)
    funded = {account.address: account.balance for account in genesis.accounts}
    assert all(funded[key.address] == 7 for key in KEYS)
    by_node = tx.sign_all(layout, KEYS, 4)
    seen: set[bytes] = set()
    for batches in by_node:
        nonces: Counter[bytes] = Counter()
        for batch in batches:
            checked = [check_transaction(raw, chain_id(genesis)) for raw in batch]
            assert len({each.sender for each in checked}) == tx.BATCH
            assert [each.body.nonce for each in checked] == [nonces[e.sender] for e in checked]
            nonces.update(each.sender for each in checked)
        assert len(nonces) == 200
        assert set(nonces.values()) == {2}
        assert not seen & nonces.keys()
        seen |= nonces.keys()


def test_executing_counts_every_phase() -> None:
    figures, peers = execute.measure(blocks=1)
    phases = [value for name, value in figures.items() if name.endswith("_us_per_transfer")]
    assert len(phases) == 3
    assert all(value > 1 for value in phases)
    assert figures["transfers_per_s"] == pytest.approx(1e6 / sum(phases), rel=0.01)
    assert peers == {}


def test_usage_grows_with_work_and_names_the_largest() -> None:
    before = usage_of([os.getpid()])
    while usage_of([os.getpid()]).cpu_s < before.cpu_s + 0.05:
        sum(range(10_000))
    both = usage_of([os.getpid(), os.getppid()])
    assert both.rss_mb >= before.rss_mb > 5
    assert both.cpu_s > before.cpu_s


def test_pids_are_of_running_nodes_only(tmp_path: Path) -> None:
    plan = create(layout_at(tmp_path / "net"), Wish(nodes=1, workers=0, has_ray=False))
    state = EnsembleState(ProcessId(1, 1), "boot", 0, True, (), None, (), ())
    with pytest.raises(InvariantBroken, match="node-0 runs"):
        node_pids(plan, state)
