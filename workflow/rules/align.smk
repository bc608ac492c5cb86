"""Alignment post-training.

In:  results/renders/train/manifest.tsv and the verified weights
Out: results/align/{run}/{student,recon}.safetensors and metrics.jsonl. state/ beside them is not declared: it
     outlives a crash, and the next start goes on from it.
"""


rule align:
    """Post-train the generator and the reconstructor: soft (ASD), hard (GAN), or both."""
    input:
        renders="results/renders/train/manifest.tsv",
        weights="results/checkpoints.txt",
    output:
        student="results/align/{run}/student.safetensors",
        recon="results/align/{run}/recon.safetensors",
        metrics="results/align/{run}/metrics.jsonl",
    log:
        "results/logs/align/{run}.log",
    benchmark:
        "results/benchmarks/align/{run}.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: 16
    resources:
        mem_mb=8000,
        runtime=2880,
        gpu=1,
    params:
        config=RESOLVED,
        code=code("aligncvc.align"),
        settings=PLAN.reads(*ALIGN_READS),
        ledger=LEDGER_HASH,
        folder=subpath(output.student, parent=True),
    shell:
        "python -m aligncvc.align --config {params.config} --run {wildcards.run} --renders {input.renders}"
        " --out {params.folder} > {log} 2>&1"
