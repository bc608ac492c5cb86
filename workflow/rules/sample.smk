"""Sampling.

In:  results/renders/eval/manifest.tsv, the verified weights, and the aligned weights a method uses
Out: results/sample/{method}/manifest.json (written last), and beside it per object and seed the model and steps
"""


rule sample:
    """Turn each held-out input view into 3D Gaussians with one method, for every seed."""
    input:
        renders="results/renders/eval/manifest.tsv",
        weights="results/checkpoints.txt",
        aligned=PLAN.aligned,
    output:
        manifest="results/sample/{method}/manifest.json",
    log:
        "results/logs/sample/{method}.log",
    benchmark:
        "results/benchmarks/sample/{method}.jsonl"
    wildcard_constraints:
        method="|".join(PLAN.methods()),
    conda:
        "../../envs/torch.yaml"
    threads: 16
    resources:
        mem_mb=8000,
        runtime=720,
        gpu=1,
    params:
        config=RESOLVED,
        code=code("aligncvc.sample"),
        settings=PLAN.reads(*SAMPLE_READS),
        ledger=LEDGER_HASH,
        folder=subpath(output.manifest, parent=True),
        align="results/align",
    shell:
        "python -m aligncvc.sample --config {params.config} --method {wildcards.method} --renders {input.renders}"
        " --align-dir {params.align} --out {params.folder} > {log} 2>&1"
