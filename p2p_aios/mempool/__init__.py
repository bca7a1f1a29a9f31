"""Transactions on their way into a block: checked once, ordered by fee and nonce, bounded."""
