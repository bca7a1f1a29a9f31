"""The node: one Trio process that ties network, consensus, ledger, storage and RPC together."""
