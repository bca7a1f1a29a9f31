"""State and its rules, one module per chapter; pure and deterministic.

A block's context and transactions go in, writes, receipts and events come out (`execute`). Nothing
here reads a clock, draws a random number, or scans the state: what must be found is indexed.
"""
