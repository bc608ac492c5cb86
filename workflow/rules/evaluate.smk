"""Metrics.

In:  results/sample/{method}/manifest.json and results/renders/eval/manifest.tsv
Out: results/metrics/<protocol>-<hash>/{method}.csv, one record a row; the protocol in full beside it
"""


rule evaluate:
    """Compare one method's models and views with the ground truth and with each other."""
    input:
        sample="results/sample/{method}/manifest.json",
        renders="results/renders/eval/manifest.tsv",
        weights="results/checkpoints.txt",
    output:
        f"{PLAN.metrics_folder}/{{method}}.csv",
    log:
        "results/logs/evaluate/{method}.log",
    benchmark:
        "results/benchmarks/evaluate/{method}.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: 16
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=1,
    params:
        config=RESOLVED,
        code=code("aligncvc.evaluate"),
        settings=PLAN.reads("pair", "evaluate", "protocol", *MODEL_SECTIONS),
        sample=subpath(input.sample, parent=True),
    shell:
        "python -m aligncvc.evaluate --config {params.config} --sample {params.sample} --renders {input.renders}"
        " --out {output} > {log} 2>&1"
