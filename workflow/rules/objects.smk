"""3D objects.

In:  a set of the configuration (objects.sets) and its list in config/objects/.
Out: results/objects/{set}/manifest.tsv and the GLBs beside it, which are kept between runs.
"""


rule objects:
    """Fetch or unpack, verify and list the objects of one set; bad ones are listed as failed."""
    input:
        objects=PLAN.object_list,
    output:
        manifest="results/objects/{set}/manifest.tsv",
    log:
        "results/logs/objects/{set}.log",
    benchmark:
        "results/benchmarks/objects/{set}.jsonl"
    conda:
        "../../envs/render.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        config=RESOLVED,
        code=code("aligncvc.objects"),
        settings=PLAN.reads("object_set.{set}"),
        folder=subpath(output.manifest, parent=True),
    shell:
        "python -m aligncvc.objects --config {params.config} --set {wildcards.set} --out {params.folder} > {log} 2>&1"
