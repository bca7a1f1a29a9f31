"""Benchmarks for people: each measures one part of AIOS beside a peer where one exists.

A module here has NAME and `measure() -> (figures, peers)`, medians with the unit as the
key's suffix.
"""
