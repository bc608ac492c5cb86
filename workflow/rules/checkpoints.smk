"""Weights.

In:  config/checkpoints.yaml, the ledger.
Out: results/checkpoints.txt, written only if every file that the configuration uses has the right bytes.
"""


rule checkpoints:
    """Compare the weights in use with the ledger's sha256; a wrong or missing file stops the workflow here."""
    input:
        ledger=PLAN.ledger,
    output:
        "results/checkpoints.txt",
    log:
        "results/logs/checkpoints.log",
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("aligncvc.checkpoints"),
        weights=PLAN.weights,
    shell:
        "python -m aligncvc.checkpoints verify --ledger {input.ledger} {params.weights} > {output} 2> {log}"
