"""Alignment post-training.

In:  results/renders/train/manifest.tsv and the verified weights
Out: results/align/{run}/{student,recon}.safetensors. metrics.jsonl and state/ beside them are not declared:
     they outlive a crash, and the next start goes on from them.
"""


rule align:
    """Post-train the generator and the reconstructor: soft (ASD), hard (GAN), or both."""
    input:
        renders="results/renders/train/manifest.tsv",
        weights="results/checkpoints.txt",
        config=ancient("results/config.yaml"),
    output:
        student="results/align/{run}/student.safetensors",
        recon="results/align/{run}/recon.safetensors",
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
        code=code("aligncvc.align"),
        settings=PLAN.reads(*ALIGN_READS),
        ledger=LEDGER_HASH,
        folder=subpath(output.student, parent=True),
    shell:
        "python -m aligncvc.align --config {input.config} --run {wildcards.run} --renders {input.renders}"
        " --out {params.folder} > {log} 2>&1"
