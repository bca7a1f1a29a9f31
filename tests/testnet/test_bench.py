"""What benchmarks do must be what they say: the load they send, the blocks they execute."""

import inspect
import os
import re
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from p2p_aios.codec import schema
from p2p_aios.crypto.keys import KeyPair, is_signed
from p2p_aios.errors import InvariantBroken
from p2p_aios.node.identity import load_genesis
from p2p_aios.types.block import Block, block_hash, transactions_root
from p2p_aios.types.genesis import chain_id
from p2p_aios.types.receipt import BlockOutcome, receipts_root
from p2p_aios.types.transaction import check_transaction
from p2p_aios.types.vote import Certificate, ballot_digest
from p2p_aios.units import Amount
from testnet.bench import chain, committee, execute, state, tx
from testnet.bench.command import BENCHES, load_bench
from testnet.bench.growth import by_size, exponent, growth_figures, sizes_up_to
from testnet.bench.table import growth_table
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
    options = inspect.signature(bench.measure).parameters.keys() & {"seconds", "largest"}
    assert options == {BENCHES[name].takes} - {None}


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


def test_growth_is_told_by_size_and_by_its_power() -> None:
    assert sizes_up_to(100, 4, 5) == [4, 20, 100]
    assert sizes_up_to(70, 4, 5) == [4, 20, 70]
    assert sizes_up_to(3, 4, 5) == [3]
    assert exponent({2: 12.0, 4: 48.0, 8: 192.0}) == pytest.approx(2)
    assert exponent({2: 5.0, 4: 0.0}) is None
    measured = {2: {"votes": 12.0, "delay_ms": 7.0}, 4: {"votes": 48.0, "delay_ms": 7.0}}
    figures = growth_figures(measured)
    assert figures["votes_exponent"] == 2
    assert figures["delay_ms_exponent"] == 0
    rows, sizes = by_size(figures)
    assert sizes == [2, 4]
    assert rows == {"votes": {2: 12.0, 4: 48.0}, "delay_ms": {2: 7.0, 4: 7.0}}


def test_the_table_of_growth_has_a_column_for_each_size(
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures = growth_figures({1_000: {"ms": 2.0}, 10_000: {"ms": 20.0}})
    Console(width=80).print(growth_table(figures))
    _, heading, _, row, _ = capsys.readouterr().out.splitlines()
    assert re.findall(r"[\w,]+", heading) == ["figure", "1,000", "10,000", "exponent"]
    assert re.findall(r"[\w,]+", row) == ["ms", "2", "20", "1"]


def test_an_archive_keeps_what_others_prune() -> None:
    figures, _ = state.measure(largest=400)
    assert figures["archive_bytes_per_block_at_400"] > 100 * 400
    assert figures["pruned_bytes_per_block_at_400"] < 4096
    assert 2 < figures["proof_nodes_at_400"] < 5
    assert figures["hashes_per_update_at_400"] > 1


def test_the_chain_repeats_a_block_that_is_real() -> None:
    content = chain.make_content()
    block = schema.decode(Block, content.block)
    outcome = schema.decode(BlockOutcome, content.outcome)
    certificate = schema.decode(Certificate, content.certificate)
    checked = [check_transaction(raw, chain.CHAIN_ID) for raw in block.transactions]
    assert [receipt.transaction for receipt in outcome.receipts] == [each.id for each in checked]
    assert len(checked) == chain.TRANSFERS
    assert block.header.tx_root == transactions_root(block.transactions)
    assert block.header.receipts_root == receipts_root(outcome.receipts, outcome.events)
    assert certificate.ballot.block == block_hash(block.header)
    digest = ballot_digest(chain.CHAIN_ID, certificate.ballot)
    signers = KEYS[: chain.SIGNERS]
    assert all(
        is_signed(key.public_key, digest, signature)
        for key, signature in zip(signers, certificate.signatures, strict=True)
    )


def test_what_a_block_leaves_on_disk_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "COMMITS", 5)
    figures, _ = chain.measure(largest=500, accounts=300)
    content = chain.make_content()
    least = len(content.block) + len(content.outcome) + len(content.certificate)
    assert least < figures["chain_bytes_per_block_at_500"] < 1.5 * least
    assert figures["archive_state_bytes_per_block_at_500"] > 40 * 100
    assert figures["find_transaction_us_at_500"] > 0


def test_each_seat_sends_two_votes_and_two_certificates_to_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(committee, "MEASURED_MS", 3_000)
    figures, _ = committee.measure(largest=4)
    assert figures["messages_at_4"] == pytest.approx(4 * 3, rel=0.1)
    assert figures["messages_total_at_4"] == pytest.approx(4 * figures["messages_at_4"])
    assert figures["certificate_kilobytes_at_4"] < figures["kilobytes_at_4"]
    # Of the three others' two votes each a quorum needs two besides one's own.
    assert figures["signatures_checked_at_4"] == pytest.approx(4, rel=0.1)
    assert figures["finality_p50_ms_at_4"] > 3 * committee.DELAY_MS
