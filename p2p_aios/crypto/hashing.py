"""Domain-separated sha256."""

import hashlib

from p2p_aios.units import Hash


def sha256(data: bytes) -> Hash:
    return Hash(hashlib.sha256(data).digest())


def signing_digest(kind: str, chain_id: Hash, payload: bytes) -> Hash:
    """What a signature of `kind` covers: sha256("aios/<kind>/v1" || chain_id || payload)."""
    return sha256(b"aios/" + kind.encode() + b"/v1" + chain_id + payload)
