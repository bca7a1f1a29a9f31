"""A whole AIOS network on one machine: real processes, faults on demand, the demo, benchmarks."""
