"""Weights.

In:  config/checkpoints.yaml, the ledger.
Out: checkpoints/{checkpoint}-{digest}.txt, written only if the file has the bytes that its name promises. One job a file: a
     job that runs hides from Snakemake what else is stale downstream of it, so only what reads new weights waits for them.
"""


rule checkpoints:
    """Compare one file of weights with the ledger's sha256; a wrong or missing one stops what would read it here."""
    input:
        # The hash is in the output's name: other lines of the ledger rerun nothing.
        ledger=ancient(JOBS.ledger),
    output:
        f"{R}/checkpoints/{{checkpoint}}-{{digest}}.txt",
    log:
        f"{R}/logs/checkpoints/{{checkpoint}}-{{digest}}.log",
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=10,
    params:
        name="{checkpoint}",
    shell:
        "python -m aligncvc.checkpoints verify --ledger {input.ledger:q} {params.name:q} > {output:q} 2> {log:q}"
