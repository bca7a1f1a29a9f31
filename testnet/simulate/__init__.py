"""Seeded worlds for the consensus core: virtual time, hostile networks, crashes, villains."""
