"""Networks: generators, reconstructors and encoders, with the ledger of their weights."""
