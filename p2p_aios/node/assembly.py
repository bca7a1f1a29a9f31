"""Opens everything a node is made of, in the order in which it depends on each other."""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from p2p_aios.consensus.records import JournalBirth
from p2p_aios.crypto.keys import format_address
from p2p_aios.errors import Unavailable
from p2p_aios.ledger.queries import read_validator
from p2p_aios.network.config import NetworkConfig
from p2p_aios.network.identity import format_peer
from p2p_aios.network.node import Network, open_network
from p2p_aios.node.answering import Answering
from p2p_aios.node.beacon import Beacon
from p2p_aios.node.blobs import Blobs
from p2p_aios.node.catchup import CatchUp
from p2p_aios.node.chain import Chain, open_chain
from p2p_aios.node.committee_map import CommitteeMap
from p2p_aios.node.config import ComputeSection, NodeConfig
from p2p_aios.node.finality import Finality
from p2p_aios.node.gateway import GatewayConfig, open_gateway
from p2p_aios.node.identity import Identity
from p2p_aios.node.parts import Parts
from p2p_aios.node.transactions import Transactions
from p2p_aios.node.voting import Voting
from p2p_aios.storage.blobs import BlobStore
from p2p_aios.store.chain import ChainStore
from p2p_aios.store.journal import Journal, open_journal
from p2p_aios.store.writer import SerialWriter
from p2p_aios.types.genesis import Genesis, chain_id
from p2p_aios.units import Height, Millis

log = logging.getLogger(__name__)


@asynccontextmanager
async def open_parts(
    config: NodeConfig, genesis: Genesis, identity: Identity
) -> AsyncIterator[Parts]:
    """The parts of a node, opened; whoever runs them closes them by leaving.

    Raises Invalid for an impossible genesis or address; Unavailable: `data_unwritable`,
    `listen_failed`, `store_locked`, `journal_in_use`; Corrupt.
    """
    data = config.node.data
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable("data_unwritable", f"cannot make {data}: {error.strerror}") from None
    async with AsyncExitStack() as stack:
        if identity.validator is not None and not (data / "chain").exists():
            # Before the chain, so that a chain without a journal always means a lost one.
            _open_journal(data, Height(0)).close()
        store = stack.enter_context(
            ChainStore.open(
                data / "chain", chain_id(genesis), keep_blocks=config.store.keep_blocks or None
            )
        )
        chain = await open_chain(genesis, store, SerialWriter())
        blob_store = BlobStore(
            data / "blobs", config.store.blob_quota_bytes, chain.params.blob_bytes_max
        )
        stack.callback(blob_store.close)
        network = await stack.enter_async_context(
            open_network(_network_config(config, chain, identity))
        )
        network.requests.serve(Answering(chain, blob_store).answer)
        finality = Finality(chain)
        transactions = Transactions(chain, network.gossip)
        committee = CommitteeMap(chain, network)
        catchup = CatchUp(chain, network, transactions, finality)
        beacon, voting = None, None
        if identity.validator is not None:
            journal = _open_journal(data, Height(max(1, chain.tip.height)))
            stack.callback(journal.close)
            beacon = Beacon(chain, transactions, identity.validator)
            await beacon.follow()
            voting = Voting(
                chain,
                committee,
                transactions,
                finality,
                catchup,
                identity.validator,
                beacon,
                journal,
            )
        gateway = None
        if config.compute is not None:
            gateway = await stack.enter_async_context(
                open_gateway(_gateway_config(config, config.compute))
            )
        _log_identity(chain, network, identity)
        yield Parts(
            chain=chain,
            network=network,
            transactions=transactions,
            committee=committee,
            catchup=catchup,
            finality=finality,
            blobs=Blobs(chain, blob_store, network),
            key=identity.validator,
            beacon=beacon,
            voting=voting,
            gateway=gateway,
        )


def _open_journal(data: Path, height: Height) -> Journal:
    """The validator's journal; where there is none it begins here, at `height` of the chain."""
    return open_journal(data / "journal", JournalBirth(Millis(time.time_ns() // 1_000_000), height))


def _network_config(config: NodeConfig, chain: Chain, identity: Identity) -> NetworkConfig:
    return NetworkConfig(
        secret=identity.peer.secret,
        chain_id=chain.chain_id,
        listen=(config.network.listen,),
        peers=config.network.peers,
    )


def _gateway_config(config: NodeConfig, compute: ComputeSection) -> GatewayConfig:
    return GatewayConfig(
        ray_address=compute.ray_address,
        ray_token_file=compute.ray_token_file,
        node_ip=compute.node_ip,
        log_file=config.node.data / "gateway.log",
    )


def _log_identity(chain: Chain, network: Network, identity: Identity) -> None:
    log.info(
        "network=%s chain=%s peer=%s validator=%s height=%d",
        chain.genesis.network,
        chain.chain_id.hex()[:16],
        format_peer(network.peer),
        format_address(identity.validator.address) if identity.validator else "none",
        chain.tip.height,
    )
    if identity.validator is not None:
        with chain.state() as state:
            registered = read_validator(state, identity.validator.address)
        if registered is None:
            log.warning("the validator key is not registered: this node only follows")
        elif registered.peer_id != network.peer:
            log.error(
                "this validator is registered under peer %s; with another peer key the committee"
                " does not let it in",
                format_peer(registered.peer_id),
            )
