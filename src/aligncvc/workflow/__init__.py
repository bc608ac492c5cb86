"""What the Snakemake workflow asks at its start: paths, fingerprints of code, the state of the machine."""
