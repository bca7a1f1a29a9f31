"""A node's interface for programs: JSON-RPC 2.0 over HTTP and WebSocket, and blobs over HTTP."""
