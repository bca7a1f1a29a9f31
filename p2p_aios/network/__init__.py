"""The peer-to-peer network: gossip, committee streams, requests, and the peers themselves.

The only package that imports libp2p. A node opens it once and owns it for its lifetime:

    async with open_network(config) as network:          # node.py
        blocks = await network.gossip.join(Topic.BLOCKS, validate)
        network.committee.set_committee(peer_ids)
        network.requests.serve(answer)
        reply = await network.requests.request(peer, payload, deadline_s=5, bytes_max=1 << 20)

What travels where (DESIGN §6, "The paths"): votes and certificates, and apart from them
proposals, go down committee streams; gossip carries blocks to everyone else, transaction batches
and announcements; everything large is pulled by request. Peers are named by the binary form of
their libp2p peer id throughout.

Layers, lowest first: identity, penalties, pace, admission, listening, wire (framing); overrides,
connection, swarm (libp2p made safe and cheaper); host; router, pubsub, gossip, streams, requests,
peers; node.
"""
