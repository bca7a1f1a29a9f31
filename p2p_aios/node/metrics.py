"""What Prometheus reads at `GET /metrics` of the RPC port.

Nearly everything is read from the parts when somebody asks: a node that nobody watches pays
nothing. What only the moment knows (intervals between blocks, their lag) is noted once a block, and
calls of the RPC once each. Names and units follow Prometheus: base units,
`_total` for what only grows. Whoever reads the RPC may read this too: it names no key, peer or
address.
"""

import time
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

import p2p_aios
from p2p_aios.network.gossip import Topic
from p2p_aios.node.candidate import Candidate
from p2p_aios.node.parts import Parts
from p2p_aios.rpc.feed import Feed
from p2p_aios.rpc.meter import CallMeter
from p2p_aios.types.vote import Certificate

INTERVAL_BOUNDS_S: Final = (0.25, 0.45, 0.475, 0.5, 0.525, 0.55, 0.6, 0.75, 1, 2, 4, 8, 16)
"""Upper bounds of the histogram; fine around the half second that a block should take."""
LAG_BOUNDS_S: Final = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 4, 8, 16)


class Metrics:
    """One node's metrics: listens to finality, counts calls of the RPC, answers scrapes."""

    def __init__(self, parts: Parts, feed: Feed) -> None:
        self._registry = CollectorRegistry()
        self._blocks = BlockMeter(parts, self._registry)
        self.calls = CallMeter()
        """What the RPC is called for; who serves it notes that."""
        self._registry.register(_Read(parts, feed, self.calls))
        ProcessCollector(registry=self._registry)

    def on_final(self, final: tuple[Candidate, ...], _certificate: Certificate) -> None:
        """A `Finality` listener."""
        for candidate in final:
            self._blocks.note(candidate)

    async def respond(self, _request: Request) -> Response:
        """`GET /metrics`, in the text format that every Prometheus reads."""
        return Response(self.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class BlockMeter:
    """What is known only while blocks become final."""

    def __init__(self, parts: Parts, registry: CollectorRegistry) -> None:
        tip = parts.chain.tip
        # The view of the block we start on is unknown: counting begins with its child.
        self._last: tuple[int, int, int | None] = (tip.timestamp_ms, tip.epoch, None)
        self._interval = Histogram(
            "aios_consensus_block_interval_seconds",
            "Time between the timestamps of a final block and of its parent.",
            buckets=INTERVAL_BOUNDS_S,
            registry=registry,
        )
        self._lag = Histogram(
            "aios_consensus_finality_lag_seconds",
            "From a block's timestamp until this node had it final on disk.",
            buckets=LAG_BOUNDS_S,
            registry=registry,
        )
        self._nullified = Counter(
            "aios_consensus_nullified_views",
            "Views between final blocks and their parents, which were nullified.",
            registry=registry,
        )
        self._transactions = Counter(
            "aios_consensus_transactions", "Transactions in final blocks.", registry=registry
        )

    def note(self, candidate: Candidate) -> None:
        """A block is final."""
        header = candidate.block.header
        before_ms, epoch, view = self._last
        self._interval.observe((header.timestamp_ms - before_ms) / 1000)
        self._lag.observe(max(0.0, time.time() - header.timestamp_ms / 1000))
        if header.epoch != epoch:
            view = 0
        if view is not None:
            # Whatever a quorum signs is final, even views that do not ascend: counters refuse to
            # fall, and a figure must not end the node.
            self._nullified.inc(max(0, header.view - view - 1))
        self._transactions.inc(len(candidate.transactions))
        self._last = (header.timestamp_ms, header.epoch, header.view)


class _Read(Collector):
    """Reads the parts as they are now."""

    def __init__(self, parts: Parts, feed: Feed, calls: CallMeter) -> None:
        self._parts = parts
        self._feed = feed
        self._calls = calls

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that registering does not already read."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield from self._consensus()
        yield from self._mempool()
        yield from self._store()
        yield from self._network()
        yield from self._gateway()
        yield from self._rpc()

    def _consensus(self) -> Iterator[Metric]:
        tip, voting = self._parts.chain.tip, self._parts.voting
        version = GaugeMetricFamily("aios_build_info", "Version.", labels=["version"])
        version.add_metric([p2p_aios.__version__], 1)
        yield version
        yield _gauge("consensus_height", "Height of the last final block.", tip.height)
        epoch = tip.epoch if voting is None else voting.core.epoch
        yield _gauge("consensus_epoch", "Epoch in which consensus is.", epoch)
        yield _gauge(
            "consensus_tip_age_seconds",
            "Time since the timestamp of the last final block.",
            max(0.0, time.time() - tip.timestamp_ms / 1000),
        )
        is_behind = self._parts.catchup.is_behind
        yield _gauge("consensus_syncing", "1 while the node knows that it lags.", is_behind)
        if voting is not None:
            yield _gauge("consensus_view", "View in which the validator is.", voting.core.view)
            yield _gauge(
                "consensus_block_transactions_max",
                "Most transactions that a block proposed now would take, for want of time.",
                voting.block_transactions_max(),
            )

    def _mempool(self) -> Iterator[Metric]:
        mempool = self._parts.transactions.mempool
        yield _gauge("mempool_transactions", "Transactions that wait.", len(mempool))
        yield _gauge("mempool_bytes", "Encoded size of what waits.", mempool.bytes_held)

    def _store(self) -> Iterator[Metric]:
        figures = self._parts.chain.store.figures()
        yield _gauge("state_entries", "Keys of the latest state.", figures.state_entries)
        yield _gauge("trie_nodes", "Trie nodes on disk, of all kept blocks.", figures.trie_nodes)
        yield _gauge("store_file_bytes", "Size of the chain's database.", figures.file_bytes)
        yield SummaryMetricFamily(
            "aios_store_commit_seconds",
            "Writing final blocks, fsync included.",
            count_value=figures.commits,
            sum_value=figures.commit_s,
        )

    def _network(self) -> Iterator[Metric]:
        network = self._parts.network
        peers = GaugeMetricFamily("aios_network_peers", "Connections.", labels=["direction"])
        connections = network.peers.connected()
        for direction in ("inbound", "outbound"):
            count = sum(each.direction == direction for each in connections)
            peers.add_metric([direction], count)
        yield peers
        mesh = GaugeMetricFamily(
            "aios_network_gossip_neighbours",
            "Peers to whom a topic's messages go directly.",
            labels=["topic"],
        )
        for topic in Topic:
            mesh.add_metric([topic.value], len(network.gossip.neighbours(topic)))
        yield mesh
        joined = len(network.committee.joined())
        yield _gauge("network_committee_joined", "Members who let our streams in.", joined)
        dropped = CounterMetricFamily(
            "aios_network_dropped", "Messages lost to full queues.", labels=["way"]
        )
        dropped.add_metric(["gossip"], network.gossip.dropped)
        dropped.add_metric(["committee"], network.committee.dropped)
        yield dropped
        bans = network.host.penalties.bans
        yield CounterMetricFamily("aios_network_bans", "Peers banned.", value=bans)

    def _gateway(self) -> Iterator[Metric]:
        if self._parts.gateway is None:
            return
        status = self._parts.gateway.status()
        yield _gauge("gateway_up", "1 while the gateway is in its Ray cluster.", status.is_up)
        yield _gauge("gateway_calls_in_flight", "Calls in progress.", status.in_flight)
        yield CounterMetricFamily(
            "aios_gateway_restarts", "How often the gateway ended.", value=status.restarts
        )
        yield SummaryMetricFamily(
            "aios_gateway_call_seconds",
            "Calls of the gateway, failed ones included.",
            count_value=status.calls,
            sum_value=status.call_s,
        )

    def _rpc(self) -> Iterator[Metric]:
        yield _gauge("rpc_subscribers", "Followers of blocks and events.", self._feed.count)
        calls = CounterMetricFamily(
            "aios_rpc_calls",
            "Calls by outcome: ok, or the code of the refusal. `other` is no method.",
            labels=["method", "outcome"],
        )
        for (method, outcome), count in sorted(self._calls.calls.items()):
            calls.add_metric([method, outcome], count)
        yield calls
        seconds = CounterMetricFamily(
            "aios_rpc_call_seconds",
            "Time until they were answered, waits included.",
            labels=["method"],
        )
        for method, total_s in sorted(self._calls.seconds.items()):
            seconds.add_metric([method], total_s)
        yield seconds


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"aios_{name}", meaning, value=value)
