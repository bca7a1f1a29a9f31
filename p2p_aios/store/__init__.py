"""What a node keeps on disk, on LMDB: the finalized chain, and what else needs transactions."""
