"""Requests between hosts on loopback."""

import os

import pytest
import trio

from p2p_aios.codec.frames import encode_frame
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.network.requests import ANSWERING_PER_PEER_MAX, ASKING_PER_PEER_MAX
from p2p_aios.network.wire import FRAME_BYTES_MAX, Stream

MIB = 1 << 20


async def test_twenty_mebibytes_come_in_frames(loopback):
    blob = os.urandom(20 * MIB)

    async def answer(_peer: bytes, question: bytes):
        async def pieces():
            for start in range(0, len(blob), 3 * MIB):
                yield blob[start : start + 3 * MIB]

        return blob if question == b"whole" else pieces()

    async with loopback.open_mesh(2) as (server, client):
        server.requests.serve(answer)
        for question in (b"whole", b"pieces"):
            got = await client.requests.request(
                server.peer, question, deadline_s=20, bytes_max=len(blob)
            )
            assert got == blob
        with pytest.raises(Invalid, match="answer_too_large"):
            await client.requests.request(
                server.peer, b"whole", deadline_s=20, bytes_max=len(blob) - 1
            )
        assert not client.host.is_banned(server.peer)


async def test_refusals_carry_their_code_and_sentence(loopback):
    async def answer(peer: bytes, question: bytes) -> bytes:
        assert peer == client.peer
        match question:
            case b"invalid":
                raise Invalid("no_such_block", "height 9 is beyond the tip")
            case b"unavailable":
                raise Unavailable("syncing", "ask again in a minute")
            case b"bug":
                raise ZeroDivisionError
        return b""

    async with loopback.open_mesh(2) as (server, client):

        async def ask(question: bytes) -> bytes:
            return await client.requests.request(server.peer, question, deadline_s=5, bytes_max=MIB)

        with pytest.raises(Unavailable, match="not_serving"):
            await ask(b"early")
        server.requests.serve(answer)
        with pytest.raises(Invalid) as invalid:
            await ask(b"invalid")
        assert (invalid.value.code, invalid.value.message) == (
            "no_such_block",
            "height 9 is beyond the tip",
        )
        with pytest.raises(Unavailable, match="syncing: ask again in a minute"):
            await ask(b"unavailable")
        with pytest.raises(Unavailable, match="answer_failed"):
            await ask(b"bug")
        with pytest.raises(Invalid, match="too_large"):
            await ask(bytes(FRAME_BYTES_MAX + 1))
        assert await ask(b"fine") == b""


async def test_deadline_and_absence_are_unavailable(loopback):
    async def answer(_peer: bytes, _question: bytes) -> bytes:
        await trio.sleep_forever()
        return b""

    async with loopback.open_mesh(2) as (server, client):
        server.requests.serve(answer)
        with pytest.raises(Unavailable, match="request_timed_out"):
            await client.requests.request(server.peer, b"?", deadline_s=0.2, bytes_max=1)
        with pytest.raises(Unavailable, match="peer_not_connected"):
            await client.requests.request(loopback.peer_id(77), b"?", deadline_s=1, bytes_max=1)
        await loopback.until(lambda: not server.requests._answering)


@pytest.mark.slow
async def test_a_peer_that_dies_in_the_middle_is_unavailable(loopback):
    server = loopback.start_peer(5, "server")
    async with loopback.open_mesh(1) as (client,):
        client.peers.add(server.address)
        await loopback.until(lambda: client.host.is_connected(server.peer))
        assert (
            len(await client.requests.request(server.peer, b"10", deadline_s=10, bytes_max=MIB))
            == 10 * 64 * 1024
        )
        taken: list[bytes] = []

        def take(part: bytes) -> None:
            taken.append(part)
            if len(taken) == 5:
                server.stop()

        started_s = trio.current_time()
        with pytest.raises(Unavailable, match="stream_lost"):
            await client.requests.request_parts(
                server.peer, b"10000", deadline_s=30, bytes_max=1 << 30, take=take
            )
        assert trio.current_time() - started_s < 5
        assert 5 <= len(taken) < 100


async def test_many_at_once_wait_their_turn_and_greedy_peers_are_put_off(loopback):
    most = 0

    async def answer(_peer: bytes, question: bytes) -> bytes:
        nonlocal most
        most = max(most, server.requests._answering.total())
        await trio.sleep(0.02)
        return question

    async with loopback.open_mesh(2) as (server, client):
        server.requests.serve(answer)
        answers: list[bytes] = []

        async def ask(number: int) -> None:
            answers.append(
                await client.requests.request(
                    server.peer, b"%d" % number, deadline_s=20, bytes_max=99
                )
            )

        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(ask, number)
        assert sorted(answers) == sorted(b"%d" % number for number in range(40))
        assert most <= ASKING_PER_PEER_MAX
        # Not keeping to its own bound, it meets the server's.
        refusals: list[bytes] = []

        async def ask_past_the_bound() -> None:
            stream = await client.host.open_stream(
                server.peer, client.host.config.protocol("request")
            )
            await stream.write(encode_frame(b"x"))
            refusals.append(await stream.read())
            await stream.reset()

        async with trio.open_nursery() as nursery:
            for _ in range(ANSWERING_PER_PEER_MAX + 12):
                nursery.start_soon(ask_past_the_bound)
        assert 1 <= sum(b"busy" in refusal for refusal in refusals) <= 12
        assert most <= ANSWERING_PER_PEER_MAX


@pytest.mark.parametrize(
    "reply",
    [
        encode_frame(b"\x07what is this"),
        encode_frame(b"\x02no code here"),
        (FRAME_BYTES_MAX + 1).to_bytes(4, "big"),
        encode_frame(b""),
    ],
)
async def test_a_malformed_answer_bans_who_gave_it(loopback, reply):
    async def lie(stream: Stream) -> None:
        await stream.read()
        await stream.write(reply)
        await trio.sleep(1)

    async with loopback.open_mesh(2) as (server, client):
        server.host.serve(server.host.config.protocol("request"), lie)
        with pytest.raises(Invalid):
            await client.requests.request(server.peer, b"?", deadline_s=5, bytes_max=MIB)
        assert client.host.is_banned(server.peer)


async def test_an_answer_without_its_end_is_no_answer(loopback):
    async def stop_early(stream: Stream) -> None:
        await stream.read()
        await stream.write(encode_frame(b"\x00half of"))
        await stream.close()

    async with loopback.open_mesh(2) as (server, client):
        server.host.serve(server.host.config.protocol("request"), stop_early)
        with pytest.raises(Unavailable, match="stream_lost"):
            await client.requests.request(server.peer, b"?", deadline_s=5, bytes_max=MIB)


async def test_requests_leave_nothing_behind(loopback):
    async def answer(_peer: bytes, question: bytes) -> bytes:
        return question

    async with loopback.open_mesh(2) as (server, client):
        server.requests.serve(answer)

        def streams() -> list[int]:
            return [
                len(connection.muxed_conn.streams)
                for node in (server, client)
                for connection in node.host._swarm.get_connections()
            ]

        await trio.sleep(0.3)
        before = streams()
        for _ in range(50):
            await client.requests.request(server.peer, b"x", deadline_s=5, bytes_max=9)
        await loopback.until(lambda: streams() == before)
        assert not server.requests._answering
        assert not client.requests._asking_peers
