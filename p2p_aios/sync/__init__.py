"""Catching up: which block ranges to ask of whom, and what of the answers may be believed."""
