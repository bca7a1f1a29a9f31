"""Programs talk to a node through this: typed calls, subscriptions, signed transactions."""

from p2p_aios.sdk.client import Client
from p2p_aios.sdk.proofs import Trusted, trust_genesis
from p2p_aios.sdk.sender import Sender, sign_action
from p2p_aios.sdk.subscription import Notifications

__all__ = ["Client", "Notifications", "Sender", "Trusted", "sign_action", "trust_genesis"]
