"""Alignment post-training.

In:  renders/train/manifest.tsv and the verified weights
Out: align/{pair}/{run}/{student,recon}.safetensors and metrics.jsonl. state/ beside them is not declared: it
     outlives a crash, and the next start goes on from it.
"""


rule align:
    """Post-train the generator and the reconstructor of a pair: soft (ASD), hard (GAN), or both."""
    input:
        renders=f"{R}/renders/train/manifest.tsv",
        weights=ancient(JOBS.checkpoints("align", "{pair}", "{run}")),
    output:
        student=f"{R}/align/{{pair}}/{{run}}/student.safetensors",
        recon=f"{R}/align/{{pair}}/{{run}}/recon.safetensors",
        metrics=f"{R}/align/{{pair}}/{{run}}/metrics.jsonl",
    log:
        f"{R}/logs/align/{{pair}}/{{run}}.log",
    benchmark:
        f"{R}/benchmarks/align/{{pair}}/{{run}}.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: JOBS.config.align.threads
    resources:
        mem_mb=growing(8000),
        runtime=2880,
        gpu=one_gpu,
        # as much a matter of the machine as threads are: no reason to train again
        readers=min(4, JOBS.config.align.threads - 1),
    params:
        settings=JOBS.settings("align", "{pair}", "{run}"),
        reads=JOBS.reads("align", "{pair}", "{run}"),
        code=JOBS.code("aligncvc.align.train", "align", "{pair}", "{run}"),
        folder=subpath(output.student, parent=True),
    shell:
        "python -m aligncvc.align --settings {params.settings:q} --code {params.code:q} --renders {input.renders:q}"
        " --readers {resources.readers:q} --out {params.folder:q} > {log:q} 2>&1"
