"""What Prometheus reads from a running node, against what the node itself says."""

from dataclasses import replace
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from p2p_aios.network.penalties import GARBAGE
from p2p_aios.node.metrics import Metrics
from p2p_aios.rpc.feed import Feed
from p2p_aios.sdk import Client
from p2p_aios.types.transaction import Transfer
from p2p_aios.units import Amount, Hash
from tests.net.node_cluster import open_cluster
from tests.net.test_node_rpc import BRISK
from tests.node.founders import ALICE, BOB
from tests.node.test_gateway_supervision import open_up

Samples = dict[tuple[str, str], float]


async def scrape(url: str) -> Samples:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{url}/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return read(answer.text)


def read(text: str) -> Samples:
    """Without buckets: (name, its labels' values in order) to value."""
    families = list(text_string_to_metric_families(text))
    for family in families:
        assert family.documentation, family.name
    return {
        (sample.name, " ".join(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created"))
    }


async def test_a_validator_s_figures_are_its_own(tmp_path: Path) -> None:
    async with open_cluster(tmp_path, count=1, params=BRISK) as cluster:
        validator = await cluster.start_validator(0)
        await cluster.start_observer()
        assert validator.serving is not None
        url = validator.serving.url
        async with Client(url) as client:
            await client.send_and_wait(ALICE, Transfer(BOB.address, Amount(7)))
            refused = await client.submit_all([b"no transaction"])
            assert isinstance(refused[0], Exception)
            before = (await client.status()).height
            async with client.subscribe_blocks() as blocks:
                await anext(blocks)
                seen = await scrape(url)
            after = await client.status()
        parts = validator.parts
        height = seen["aios_consensus_height", ""]
        assert before <= height <= after.height
        assert seen["aios_consensus_epoch", ""] in (after.epoch, after.epoch - 1)
        assert seen["aios_consensus_transactions_total", ""] == 1
        # Each final block was noted once; the node began at genesis.
        for each in ("block_interval", "finality_lag"):
            assert seen[f"aios_consensus_{each}_seconds_count", ""] == height
        interval_s = seen["aios_consensus_block_interval_seconds_sum", ""]
        assert round(1000 * interval_s) >= 100 * height
        assert seen["aios_consensus_nullified_views_total", ""] >= 0
        assert seen["aios_mempool_transactions", ""] == 0
        with parts.chain.snapshot() as snapshot:
            entries = sum(1 for _ in snapshot.state_items())
        assert abs(seen["aios_state_entries", ""] - entries) <= 3
        assert seen["aios_trie_nodes", ""] > 0
        assert seen["aios_store_commit_seconds_count", ""] > 0
        assert seen["aios_store_file_bytes", ""] > 0
        peers = [seen["aios_network_peers", way] for way in ("inbound", "outbound")]
        assert sum(peers) == 1
        assert seen["aios_network_bans_total", ""] == 0
        assert seen["aios_rpc_subscribers", ""] == 1
        assert seen["aios_rpc_calls_total", "tx.submit ok"] == 1
        assert seen["aios_rpc_calls_total", "tx.submit cbor_malformed"] == 1
        assert seen["aios_rpc_calls_total", "subscribe ok"] == 1
        assert seen["aios_rpc_call_seconds_total", "tx.submit"] > 0
        assert ("aios_gateway_up", "") not in seen, "it has none"
        assert seen["process_resident_memory_bytes", ""] > 1 << 20


async def test_what_is_lost_waits_or_is_banned_is_counted(tmp_path: Path) -> None:
    async with open_cluster(tmp_path, count=4, params=BRISK) as cluster:
        # One of four founders: nothing becomes final, so what it is sent waits.
        validator = await cluster.start_validator(0)
        assert validator.serving is not None
        id = await cluster.submit(ALICE, Transfer(BOB.address, Amount(1)), through=validator)
        assert isinstance(id, bytes)
        raw = validator.parts.transactions.mempool.get(Hash(id)).raw
        validator.parts.network.host.penalize(b"somebody else", GARBAGE, "a test")
        seen = await scrape(validator.serving.url)
        assert seen["aios_mempool_transactions", ""] == 1
        assert seen["aios_mempool_bytes", ""] == len(raw)
        assert seen["aios_network_bans_total", ""] == 1
        assert seen["aios_consensus_height", ""] == 0
        assert seen["aios_network_dropped_total", "gossip"] == 0
        assert seen["aios_consensus_tip_age_seconds", ""] >= 0
        # Nothing was built yet: what a transaction is taken to cost bounds the first block.
        assert 128 < seen["aios_consensus_block_transactions_max", ""] < 3000


async def test_a_gateway_s_figures(tmp_path: Path) -> None:
    async with (
        open_cluster(tmp_path, count=4, params=BRISK) as cluster,
        open_up("honest", tmp_path) as gateway,
    ):
        validator = await cluster.start_validator(0)
        metrics = Metrics(replace(validator.parts, gateway=gateway), Feed())
        await gateway.ping()
        seen = read(metrics.text().decode())
        assert seen["aios_gateway_up", ""] == 1
        assert seen["aios_gateway_restarts_total", ""] == 0
        assert seen["aios_gateway_calls_in_flight", ""] == 0
        assert seen["aios_gateway_call_seconds_count", ""] == 1
        assert seen["aios_gateway_call_seconds_sum", ""] > 0
