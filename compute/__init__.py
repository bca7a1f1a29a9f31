"""The decentralized computing network: models, exact aggregation and evaluation, work on Ray."""
