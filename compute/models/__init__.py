"""Models of the paper: linear (eq. 5) and neural networks (eq. 8)."""
