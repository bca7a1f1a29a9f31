"""A gateway child whose contributors work by script: `python scripted_gateway.py MOOD …`.

It signs real transactions with keys that anyone can make again from their names. In mood "honest"
every update is the worker's own few bytes and every judgement accepts what was served; in mood
"hostile" answers are well formed and wrong: another one's transaction, garbage, a huge output.
In mood "slow" a worker's first training takes no time, and each of its later ones SLOW_S.
"""

import sys
import threading

from p2p_aios.codec import schema
from p2p_aios.codec.cid import cid_of
from p2p_aios.codec.frames import LENGTH_BYTES, encode_frame
from p2p_aios.crypto.hashing import sha256
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.errors import Unavailable
from p2p_aios.types.compute import JobReceipt, SubmitReceipt
from p2p_aios.types.gateway import (
    FRAME_BYTES_MAX,
    Answer,
    Call,
    Done,
    GatewayFrame,
    Judged,
    JudgeRound,
    Request,
    Result,
    RevealRound,
    RunJob,
    Signed,
    StoreBlob,
    Terms,
    TrainRound,
    Up,
    failure_of,
)
from p2p_aios.types.learning import (
    CommitUpdate,
    RevealUpdate,
    Score,
    Verdict,
    update_commitment,
)
from p2p_aios.types.transaction import Action, TransactionBody, sign_transaction
from p2p_aios.units import ZERO_HASH, Address, Hash, Millis

WORKERS = {
    key.address: key
    for key in (KeyPair.from_secret(sha256(name.encode())) for name in ("alice", "bob"))
}
AGGREGATE = b"aggregate of a script"
SLOW_S = 7.0
sending = threading.Lock()


def update_of(worker: Address) -> bytes:
    return b"update of " + worker


def signed(worker: Address, terms: Terms, action: Action) -> bytes:
    key = WORKERS[worker]
    body = TransactionBody(
        terms.chain_id, key.public_key, terms.nonce, terms.fee, terms.expires, action
    )
    return sign_transaction(key, body).raw


def work(request: Request) -> Result:
    match request:
        case TrainRound():
            update = cid_of(update_of(request.worker))
            where = (request.terms.chain_id, request.task, request.round, request.worker)
            commitment = update_commitment(*where, request.base, update, ZERO_HASH)
            commit = CommitUpdate(request.task, request.round, commitment)
            return Signed(signed(request.worker, request.terms, commit), b"")
        case RevealRound():
            output = update_of(request.worker)
            reveal = RevealUpdate(request.task, request.round, cid_of(output), ZERO_HASH)
            return Signed(signed(request.worker, request.terms, reveal), output)
        case RunJob():
            output = b"output of " + request.worker
            receipt = JobReceipt(
                request.job,
                request.assignment,
                ZERO_HASH,
                sha256(b"".join(request.inputs) + request.arguments),
                ZERO_HASH,
                cid_of(output),
                1,
            )
            return Signed(signed(request.worker, request.terms, SubmitReceipt(receipt)), output)
        case JudgeRound():
            verdicts = tuple(
                Verdict.UNAVAILABLE if update is None else Verdict.ACCEPTED
                for update in request.updates
            )
            return Judged(verdicts, AGGREGATE, Score(1, 1, 1))
        case _:
            return Done()


def lie(request: Request, count: int) -> Result:
    """Well formed, and of no use."""
    match request:
        case TrainRound() | RevealRound() | RunJob():
            lies = (
                Signed(b"\x00garbage", b""),
                Signed(b"\xff" * 60_000, bytes(1 << 20)),
                Done(),
                Signed(
                    signed(
                        request.worker, request.terms, CommitUpdate(Hash(bytes(32)), 0, ZERO_HASH)
                    ),
                    b"x",
                ),
            )
            return lies[count % len(lies)]
        case JudgeRound():
            return Judged((Verdict.ACCEPTED,) * 200, b"", Score(0, 0, 0))
        case _:
            return Done()


def main(mood: str) -> None:
    send(Up(Millis(1)))
    count = 0
    trained: dict[Address, list[Hash]] = {}
    while head := sys.stdin.buffer.read(LENGTH_BYTES):
        frame = sys.stdin.buffer.read(int.from_bytes(head, "big"))
        call = schema.decode(Call, frame, FRAME_BYTES_MAX)
        count += 1
        if mood == "failing" and not isinstance(call.request, StoreBlob):
            send(failure_of(call.id, Unavailable("worker_gone", "not here")))
        elif mood == "slow" and isinstance(call.request, TrainRound):
            threading.Timer(delay_s(call.request, trained), send, [answer_to(call)]).start()
        elif mood == "hostile":
            send(Answer(call.id, lie(call.request, count)))
        else:
            send(answer_to(call))


def answer_to(call: Call) -> Answer:
    return Answer(call.id, work(call.request))


def delay_s(request: TrainRound, trained: dict[Address, list[Hash]]) -> float:
    """What was trained once is only signed again."""
    tasks = trained.setdefault(request.worker, [])
    is_new = request.task not in tasks
    if is_new:
        tasks.append(request.task)
    return SLOW_S if is_new and len(tasks) > 1 else 0.0


def send(frame: object) -> None:
    with sending:
        sys.stdout.buffer.write(encode_frame(schema.encode_as(GatewayFrame, frame)))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1])
