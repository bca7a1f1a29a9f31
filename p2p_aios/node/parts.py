"""The parts of a running node, for those that look at several of them."""

from dataclasses import dataclass

from p2p_aios.crypto.keys import KeyPair
from p2p_aios.network.node import Network
from p2p_aios.node.beacon import Beacon
from p2p_aios.node.blobs import Blobs
from p2p_aios.node.catchup import CatchUp
from p2p_aios.node.chain import Chain
from p2p_aios.node.committee_map import CommitteeMap
from p2p_aios.node.finality import Finality
from p2p_aios.node.gateway import Gateway
from p2p_aios.node.transactions import Transactions
from p2p_aios.node.voting import Voting


@dataclass(frozen=True, slots=True)
class Parts:
    """Opened by `run`, which owns them."""

    chain: Chain
    network: Network
    transactions: Transactions
    committee: CommitteeMap
    catchup: CatchUp
    finality: Finality
    blobs: Blobs
    key: KeyPair | None
    """Of the validator; None for a node that only follows."""
    beacon: Beacon | None
    """Of the validator, as `voting`."""
    voting: Voting | None
    gateway: Gateway | None
