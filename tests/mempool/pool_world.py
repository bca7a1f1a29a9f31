"""Transactions by numbered accounts, signed by nobody: the mempool takes checked ones."""

from p2p_aios.crypto.hashing import sha256
from p2p_aios.types.transaction import CheckedTransaction, TransactionBody, Transfer
from p2p_aios.units import Address, Amount, Hash, Height, PublicKey

CHAIN = Hash(bytes(32))
BYTES = 100
"""Size of an encoded transaction unless told otherwise."""


def account(number: int) -> Address:
    return Address(number.to_bytes(20, "big"))


def transaction(
    sender: int,
    nonce: int,
    fee: int = 1000,
    *,
    expires: int = 100,
    size: int = BYTES,
    salt: int = 0,
) -> CheckedTransaction:
    action = Transfer(account(0), Amount(salt))
    body = TransactionBody(CHAIN, PublicKey(bytes(33)), nonce, Amount(fee), Height(expires), action)
    name = f"{sender} {nonce} {fee} {expires} {size} {salt}".encode()
    return CheckedTransaction(name.ljust(size, b"."), sha256(name), account(sender), body)
