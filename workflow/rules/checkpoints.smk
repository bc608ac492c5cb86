"""Weights.

In:  config/checkpoints.yaml, the ledger.
Out: checkpoints.txt, written only if every file that the configuration uses has the right bytes.
"""


rule checkpoints:
    """Compare the weights in use with the ledger's sha256; a wrong or missing file stops the workflow here."""
    input:
        # Hashes of the entries in use are among each job's settings: other lines of the ledger rerun nothing.
        ledger=ancient(JOBS.ledger),
    output:
        f"{R}/checkpoints.txt",
    log:
        f"{R}/logs/checkpoints.log",
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=10,
    params:
        code=JOBS.code("aligncvc.models.ledger.resolve"),
        weights=JOBS.plan.weights,
        hashes=[JOBS.plan.ledger.entry(name).sha256 for name in JOBS.plan.weights],
    shell:
        "python -m aligncvc.checkpoints verify --ledger {input.ledger:q} {params.weights:q} > {output:q} 2> {log:q}"
