"""A node from its configuration to its end: runs the parts until a signal comes."""

import gc
import logging
import signal
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio
from starlette.routing import Route

from p2p_aios.codec import schema
from p2p_aios.errors import Corrupt, Invalid, InvariantBroken, Unavailable
from p2p_aios.network.gossip import Topic
from p2p_aios.node.assembly import open_parts
from p2p_aios.node.backend import NodeBackend
from p2p_aios.node.candidate import Candidate
from p2p_aios.node.config import NodeConfig, load_config
from p2p_aios.node.dispatcher import Dispatcher
from p2p_aios.node.identity import Identity, load_genesis, load_identity
from p2p_aios.node.logs import configure_logging
from p2p_aios.node.metrics import Metrics
from p2p_aios.node.parts import Parts
from p2p_aios.rpc.config import RpcConfig
from p2p_aios.rpc.feed import Feed
from p2p_aios.rpc.server import serve_rpc
from p2p_aios.types.block import FinalizedBlock
from p2p_aios.types.genesis import Genesis
from p2p_aios.types.receipt import BlockOutcome
from p2p_aios.types.vote import Certificate

COLLECT_OBJECTS: Final = 20_000
"""New objects from one look for garbage to the next: about a block's worth."""
COLLECT_BLOCKS: Final = 120
"""How often blobs past their challenge window are dropped."""
SPREAD_MAX: Final = 32
"""Finalized blocks waiting to be gossiped; beyond it the oldest are left to catch-up."""

log = logging.getLogger(__name__)


def run_node(config_path: Path) -> None:
    """Run a node until SIGTERM or SIGINT.

    Raises Invalid for a wrong configuration, key or genesis; Unavailable where a port or folder is
    taken; Corrupt where the disk lies or this node computes other than the rest. Of several faults
    at once, the gravest.
    """
    config = load_config(config_path)
    configure_logging(config.log)
    genesis = load_genesis(config.node.genesis)
    identity = load_identity(config)
    _spare_collector()
    try:
        trio.run(_run_until_signal, config, genesis, identity)
    except BaseExceptionGroup as group:
        raise gravest(group) from group


def _spare_collector() -> None:
    """Modules and types outlive every collection: to walk them each time, and to look for garbage
    after every few hundred objects, held votes up under load."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_OBJECTS, 10, 10)


def gravest(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one of a nursery's exceptions that says why the node must stop."""
    for kind in (InvariantBroken, Corrupt, Invalid, Unavailable):
        found: BaseException | None = group.subgroup(kind)
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        if found is not None:
            return found
    return group


async def _run_until_signal(config: NodeConfig, genesis: Genesis, identity: Identity) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_node, config, genesis, identity)
            async for received in signals:
                log.info("%s: shutting down", signal.Signals(received).name)
                nursery.cancel_scope.cancel()
                break


@dataclass(frozen=True, slots=True)
class Serving:
    """A node that runs."""

    parts: Parts
    url: str
    """Of its RPC."""


async def serve_node(
    config: NodeConfig,
    genesis: Genesis,
    identity: Identity,
    *,
    task_status: Any = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a node until cancelled; starts with `Serving` once its RPC answers. Raises as `run_node`,
    in groups."""
    async with open_parts(config, genesis, identity) as parts, trio.open_nursery() as nursery:
        feed = Feed()
        spreader = Spreader(parts)
        metrics = Metrics(parts, feed)
        _wire(parts, feed, spreader, metrics)
        nursery.start_soon(parts.transactions.run)
        nursery.start_soon(parts.catchup.run)
        nursery.start_soon(spreader.run)
        if parts.key is None:
            nursery.start_soon(parts.catchup.follow)
        if parts.voting is not None:
            nursery.start_soon(parts.voting.run)
        if parts.beacon is not None:
            nursery.start_soon(parts.beacon.run)
        if parts.gateway is not None and parts.key is not None:
            dispatcher = Dispatcher(
                parts.chain, parts.transactions, parts.blobs, parts.gateway, parts.key
            )
            parts.finality.listen(lambda _final, _certificate: dispatcher.wake())
            nursery.start_soon(dispatcher.run)
        host, port = config.rpc.address
        rpc = RpcConfig(host, port, config.rpc.token, config.rpc.limits)
        routes = (Route("/metrics", metrics.respond, methods=["GET"]),)
        serve = partial(serve_rpc, meter=metrics.calls)
        url = await nursery.start(serve, NodeBackend(parts), feed, rpc, routes)
        log.info("rpc=%s", url)
        task_status.started(Serving(parts, url))


def _wire(parts: Parts, feed: Feed, spreader: "Spreader", metrics: Metrics) -> None:
    """Who is told of final blocks, in this order."""
    listen = parts.finality.listen
    listen(lambda final, _: parts.transactions.forget_finalized(final))
    listen(lambda _final, _certificate: parts.committee.follow_epoch())
    listen(lambda _final, _certificate: parts.catchup.moved())
    if parts.voting is not None:
        listen(parts.voting.on_final)
    if parts.beacon is not None:
        beacon = parts.beacon
        listen(lambda _final, _certificate: beacon.moved())
    listen(lambda final, certificate: _publish(feed, final, certificate))
    listen(spreader.on_final)
    listen(metrics.on_final)


def _publish(feed: Feed, final: tuple[Candidate, ...], certificate: Certificate) -> None:
    for candidate in final:
        is_last = candidate is final[-1]
        block = FinalizedBlock(candidate.block, certificate if is_last else None)
        execution = candidate.execution
        feed.publish(block, BlockOutcome(execution.receipts, execution.events))


class Spreader:
    """What a final block sets in motion beside consensus: gossip to nodes without a seat, and
    the end of blobs whose challenge window is over."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._send, self._receive = trio.open_memory_channel[FinalizedBlock](SPREAD_MAX)

    def on_final(self, final: tuple[Candidate, ...], certificate: Certificate) -> None:
        last = final[-1].block
        own = self._parts.key is not None and last.header.proposer == self._parts.key.address
        try:
            if own or last.header.height % COLLECT_BLOCKS == 0:
                self._send.send_nowait(FinalizedBlock(last, certificate))
        except trio.WouldBlock:
            log.warning("height=%d not spread: gossip is behind", last.header.height)

    async def run(self) -> None:
        """Until cancelled."""
        async for final in self._receive:
            header = final.block.header
            try:
                if self._parts.key is not None and header.proposer == self._parts.key.address:
                    await self._parts.network.gossip.publish(Topic.BLOCKS, schema.encode(final))
                if header.height % COLLECT_BLOCKS == 0:
                    await trio.to_thread.run_sync(self._parts.blobs.store.collect, header.height)
            except Exception:  # neither is worth the node: peers catch up, blobs go later
                log.exception("height=%d not spread or collected", header.height)
