"""Canonical bytes: deterministic CBOR, typed schemas, JSON views, content identifiers."""
