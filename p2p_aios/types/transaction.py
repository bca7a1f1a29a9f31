"""Transactions: one signed action of one account."""

from dataclasses import dataclass
from typing import Annotated, Final

from p2p_aios.codec import schema
from p2p_aios.codec.limits import Size, Variants
from p2p_aios.crypto.hashing import sha256, signing_digest
from p2p_aios.crypto.keys import KeyPair, address_of, is_high_s, is_signed
from p2p_aios.errors import Invalid
from p2p_aios.types.compute import RegisterWorker, RetireWorker, SubmitJob, SubmitReceipt
from p2p_aios.types.learning import AttestRound, CommitUpdate, RevealUpdate, SubmitTask
from p2p_aios.types.vote import Vote
from p2p_aios.units import Address, Amount, Hash, Height, PublicKey, Signature

TRANSACTION_BYTES_MAX: Final = 64 * 1024
"""Decoder's bound; the protocol's own is `Params.transaction_bytes_max`."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Move `amount` from the sender to `recipient`."""

    recipient: Address
    amount: Amount


@dataclass(frozen=True, slots=True)
class SetBeaconAnchor:
    """Register a fresh beacon chain for the sending validator (DESIGN §6, "Beacon")."""

    anchor: Hash
    """Last element of a new sha256 chain. It replaces the chain in use two epochs later, so that
    nobody who knows a mix can choose the next; the first reveal after that is its preimage."""


@dataclass(frozen=True, slots=True)
class ReportEvidence:
    """Two conflicting votes of one validator (DESIGN §6, "Evidence")."""

    first: Vote
    second: Vote


Action = Annotated[
    Transfer
    | SetBeaconAnchor
    | ReportEvidence
    | RegisterWorker
    | RetireWorker
    | SubmitJob
    | SubmitReceipt
    | SubmitTask
    | CommitUpdate
    | RevealUpdate
    | AttestRound,
    Variants(
        {
            1: Transfer,
            2: SetBeaconAnchor,
            3: ReportEvidence,
            16: RegisterWorker,
            17: RetireWorker,
            18: SubmitJob,
            19: SubmitReceipt,
            32: SubmitTask,
            33: CommitUpdate,
            34: RevealUpdate,
            35: AttestRound,
        }
    ),
]
"""What a transaction can do; one ledger module applies each family."""


@dataclass(frozen=True, slots=True)
class TransactionBody:
    """What the sender signs."""

    chain_id: Hash
    sender: PublicKey
    nonce: int
    """Number of this account's earlier transactions."""
    fee: Amount
    """Taken whatever becomes of the action."""
    expires: Height
    """Last height that may include it."""
    action: Action


@dataclass(frozen=True, slots=True)
class Transaction:
    body: TransactionBody
    signature: Signature


RawTransaction = Annotated[bytes, Size(1, TRANSACTION_BYTES_MAX)]
"""A transaction's canonical encoding, as blocks and messages carry it."""
_SIGNATURE_FIELD_BYTES: Final = 2 + 64
"""Of an encoded transaction's end: CBOR head and signature."""
BATCH_TRANSACTIONS_MAX: Final = 512
TransactionBatch = Annotated[tuple[RawTransaction, ...], Size(1, BATCH_TRANSACTIONS_MAX)]
"""What one gossip message carries."""


@dataclass(frozen=True, slots=True)
class CheckedTransaction:
    """A transaction whose form and signature were checked, once; the ledger trusts it."""

    raw: bytes
    id: Hash
    """The digest that was signed: it commits to chain and body, and no signature changes it."""
    sender: Address
    body: TransactionBody


def sign_transaction(key: KeyPair, body: TransactionBody) -> CheckedTransaction:
    """Sign `body`, whose sender must be `key`'s."""
    digest = transaction_id(body)
    raw = schema.encode(Transaction(body, key.sign_digest(digest)))
    return CheckedTransaction(raw, digest, key.address, body)


def check_transaction(raw: bytes, chain_id: Hash) -> CheckedTransaction:
    """Decode and verify a transaction that anyone may have sent.

    Raises Invalid: the codes of `schema.decode`, `wrong_chain`, `signature_high_s`,
    `signature_invalid`.
    """
    transaction = schema.decode(Transaction, raw, TRANSACTION_BYTES_MAX)
    body = transaction.body
    if body.chain_id != chain_id:
        raise Invalid(
            "wrong_chain",
            f"made for chain {body.chain_id.hex()[:16]}, this one is {chain_id.hex()[:16]}",
        )
    if is_high_s(transaction.signature):
        raise Invalid("signature_high_s", "use the low s of the two equivalent signatures")
    # `raw` is canonical: what lies between its array head and its signature is the encoded body.
    digest = signing_digest("transaction", chain_id, raw[1:-_SIGNATURE_FIELD_BYTES])
    if not is_signed(body.sender, digest, transaction.signature):
        raise Invalid("signature_invalid", "not a signature by the sender over this transaction")
    return CheckedTransaction(raw, digest, address_of(body.sender), body)


def raw_digest(raw: bytes) -> Hash:
    """Cache key of an encoded transaction; differs from its id, which excludes the signature."""
    return sha256(raw)


def transaction_id(body: TransactionBody) -> Hash:
    """The digest the sender signs; names the transaction whatever its signature."""
    return signing_digest("transaction", body.chain_id, schema.encode(body))
