"""What travels and what is stored: genesis, transactions, blocks, votes, receipts, events."""
