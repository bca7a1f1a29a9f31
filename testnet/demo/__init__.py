"""`aios testnet demo`: a real network trains a real model, and its claims are checked."""
