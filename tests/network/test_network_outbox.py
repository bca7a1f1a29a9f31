"""What waits for a writer: in order, in batches, within bounds."""

from p2p_aios.codec.frames import FrameBuffer
from p2p_aios.network.outbox import BATCH_BYTES_MAX, Outbox


def frames_in(batch: bytes) -> list[bytes]:
    buffer = FrameBuffer(1 << 20)
    buffer.feed(batch)
    frames = []
    while (frame := buffer.next_frame()) is not None:
        frames.append(frame)
    assert buffer.next_frame() is None
    return frames


async def test_small_frames_leave_together_and_in_order():
    outbox = Outbox(1000, 1 << 20)
    sent = [b"%d" % k + bytes(300) for k in range(500)]
    for frame in sent:
        outbox.put(frame)
    first = await outbox.take_batch()
    assert 0.9 * BATCH_BYTES_MAX < len(first) <= BATCH_BYTES_MAX
    got = frames_in(first)
    while len(got) < len(sent):
        got += frames_in(await outbox.take_batch())
    assert got == sent


async def test_a_large_frame_leaves_alone():
    outbox = Outbox(10, 1 << 20)
    outbox.put(bytes(600_000))
    outbox.put(b"vote")
    assert [len(frame) for frame in frames_in(await outbox.take_batch())] == [600_000]
    assert frames_in(await outbox.take_batch()) == [b"vote"]


async def test_a_full_outbox_drops_its_oldest():
    outbox = Outbox(3, 100)
    for k in range(5):
        outbox.put(b"%d" % k)
    assert outbox.dropped == 2
    assert frames_in(await outbox.take_batch()) == [b"2", b"3", b"4"]
    outbox.put(bytes(60))
    outbox.put(bytes(61))
    assert outbox.dropped == 3
    assert [len(frame) for frame in frames_in(await outbox.take_batch())] == [61]
