"""Benchmarks for people: each measures one part of AIOS beside a peer where one exists.

A module here that has NAME is one: `measure() -> (figures, peers)`, medians with the unit as the
key's suffix. What `measure` takes from the command line, `seconds` or `largest`, `command.BENCHES`
says too. Those with `largest` measure growth: see `growth` for how their figures are named.
"""
