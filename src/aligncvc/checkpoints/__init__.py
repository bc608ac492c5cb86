"""The command line of the ledger of weights: `python -m aligncvc.checkpoints --help`."""
