"""Hashes, secp256k1 keys and addresses, keystores, Merkle lists."""
