"""The Patricia tree (paper §2.3.1, eq. 3): one Merkle Patricia trie, with or without sums."""
