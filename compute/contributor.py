"""The Ray actor on a contributor's machine: passes frames to the agent's socket, no more."""

import os
import socket
from typing import Final

from compute.environment import AGENT_SOCKET
from p2p_aios.codec import schema
from p2p_aios.codec.frames import LENGTH_BYTES, encode_frame
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.types.gateway import (
    AgentReply,
    Signed,
    failure_of,
    length_of,
)

CALLS_AT_ONCE: Final = 4
"""Threads of the actor; the agent itself computes one job at a time."""
_RECEIVE_BYTES: Final = 1 << 18


class ContributorActor:
    """Proxy to the agent whose socket the raylet's environment names."""

    def __init__(self) -> None:
        self._path = os.environ[AGENT_SOCKET]

    def call(self, timeout_s: float, header: bytes, *blobs: bytes) -> tuple[bytes, bytes]:
        """(encoded AgentReply, output): one call of the agent, within `timeout_s`."""
        try:
            with socket.socket(socket.AF_UNIX) as stream:
                stream.settimeout(timeout_s)
                stream.connect(self._path)
                for part in (header, *blobs):
                    stream.sendall(encode_frame(part))
                reply = _receive_frame(stream)
                is_signed = isinstance(schema.decode_as(AgentReply, reply), Signed)
                return reply, _receive_frame(stream) if is_signed else b""
        except (OSError, Invalid) as error:
            gone = Unavailable("agent_gone", f"the contributor's agent does not answer: {error}")
            return schema.encode_as(AgentReply, failure_of(0, gone)), b""


def _receive_frame(stream: socket.socket) -> bytes:
    return _receive_exactly(stream, length_of(_receive_exactly(stream, LENGTH_BYTES)))


def _receive_exactly(stream: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = stream.recv(min(_RECEIVE_BYTES, length - len(data)))
        if not part:
            raise Invalid("frame_cut", "the agent hung up")
        data += part
    return bytes(data)
