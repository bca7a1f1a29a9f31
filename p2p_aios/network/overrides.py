"""Four measured speed overrides of py-libp2p 0.8.1, and three limits it offers no setting for.

Every override replaces a name inside libp2p and states the profile behind it. They are installed
once per process and hold for the pinned version only: `tests/network/test_overrides.py` fails when
the names they replace are gone.
"""

import logging
import weakref
from typing import Any, Final

import libp2p.pubsub.gossipsub as gossipsub_module
import libp2p.pubsub.pubsub as pubsub_module
import libp2p.stream_muxer.yamux.yamux as yamux_module
import trio
from libp2p.peer.id import ID
from libp2p.pubsub.rpc_queue import RpcQueue
from libp2p.stream_muxer.yamux.yamux import YamuxStream

SIGNED_RECORD_S: Final = 30.0
"""How long our signed peer record is taken as unchanged."""
WINDOW_UPDATE_BYTES: Final = 64 * 1024
"""Bytes consumed from a stream before its sender is told. The first window is 256 KiB."""
RECEIVE_WINDOW_BYTES_MAX: Final = 2 << 20
"""Where a stream's receive window stops growing (16 MiB in stock): it bounds what one stream may
make us hold, and at 100 ms still carries 20 MB/s."""
MUX_FRAME_BYTES_MAX: Final = 65_535 - 16
"""Largest yamux frame with its header: what one noise message holds."""
OUTBOX_RPCS_MAX: Final = 1024
"""Gossip RPCs waiting for one peer (32 in stock, which drops silently under a burst)."""
OUTBOX_BYTES_MAX: Final = 8 << 20
"""Their bytes together (unbounded in stock)."""

_installed = False


def install_overrides() -> None:
    """Make libp2p in this process cheaper and bounded; safe to call again."""
    global _installed
    if _installed:
        return
    _installed = True
    _cache_signed_record()
    _cache_id_hash()
    _defer_window_updates()
    _fit_frames()
    yamux_module.MAX_WINDOW_SIZE = RECEIVE_WINDOW_BYTES_MAX
    pubsub_module.RpcQueue = OutboundQueue
    # A remote peer can make libp2p log at ERROR as often as it likes; what matters of it is
    # logged by this package, once per event. (One of its loggers sets a level of its own.)
    for name in ("libp2p", "libp2p.network.auto_connector"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.getLogger("libp2p").addHandler(logging.NullHandler())


def _cache_signed_record() -> None:
    """Every gossip RPC carries our signed peer record, and stock compares it with freshly parsed
    listen addresses each time: about 1 ms of the 6 ms a message costs."""
    stock = pubsub_module.env_to_send_in_RPC
    records: weakref.WeakKeyDictionary[Any, tuple[float, bytes]] = weakref.WeakKeyDictionary()

    def cached(host: Any) -> tuple[bytes, bool]:
        now_s = trio.current_time()
        known = records.get(host)
        if known is not None and now_s < known[0] + SIGNED_RECORD_S:
            return known[1], False
        envelope, is_new = stock(host)
        records[host] = (now_s, envelope)
        return envelope, is_new

    pubsub_module.env_to_send_in_RPC = cached
    gossipsub_module.env_to_send_in_RPC = cached


def _cache_id_hash() -> None:
    """Peer ids are dictionary keys about a hundred times per gossip message; stock hashes through
    two Python calls and compares with text and bytes first."""

    def id_hash(self: Any) -> int:
        try:
            return int(self._aios_hash)
        except AttributeError:
            self._aios_hash = hash(self._bytes)
            return int(self._aios_hash)

    stock_eq = ID.__eq__

    def id_eq(self: Any, other: object) -> Any:
        if other.__class__ is ID:
            return self._bytes == other._bytes  # type: ignore[attr-defined]
        return stock_eq(self, other)

    ID.__hash__ = id_hash
    ID.__eq__ = id_eq


def _defer_window_updates() -> None:
    """Stock sends one encrypted WINDOW_UPDATE frame per read, so a small message costs as many
    frames back as forth; a sender needs none before its window runs low."""
    stock = YamuxStream._auto_tune_and_send_window_update

    async def deferred(self: Any, *, bytes_read: int = 0) -> None:
        consumed = getattr(self, "_aios_consumed", 0) + bytes_read
        if consumed < WINDOW_UPDATE_BYTES:
            self._aios_consumed = consumed
            return
        self._aios_consumed = 0
        await stock(self, bytes_read=consumed)

    YamuxStream._auto_tune_and_send_window_update = deferred


def _fit_frames() -> None:
    """Stock's full yamux frame is 17 bytes larger than a noise message, so that each takes two
    encryptions and two packets: 100 MB/s become 140 without."""
    yamux_module.MAX_MESSAGE_SIZE = MUX_FRAME_BYTES_MAX


class OutboundQueue(RpcQueue):
    """The RPCs waiting for one peer, bounded in number and in bytes; a full one refuses."""

    def __init__(self) -> None:
        super().__init__(max_size=OUTBOX_RPCS_MAX)
        self._bytes = 0

    def push(self, rpc: Any, priority: bool = False) -> bool:
        size = rpc.ByteSize()
        if self._bytes + size > OUTBOX_BYTES_MAX or not super().push(rpc, priority):
            return False
        self._bytes += size
        return True

    async def pop(self) -> Any:
        rpc = await super().pop()
        if rpc is not None:
            self._bytes -= rpc.ByteSize()
        return rpc
