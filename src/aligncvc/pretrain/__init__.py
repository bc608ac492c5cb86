"""The demo's networks, trained from renders of the furniture package (`snakemake pretrain`)."""
