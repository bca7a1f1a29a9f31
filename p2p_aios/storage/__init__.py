"""The memory unit (paper §5.3): content-addressed blobs on this node's disk."""
