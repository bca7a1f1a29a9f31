"""AIOS: the control, memory, input and output units of the whitepaper's Table 1."""

__version__ = "0.1.0"
