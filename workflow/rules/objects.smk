"""3D objects.

In:  a set of the configuration (objects.sets), its list in config/objects/, or a folder of meshes.
Out: objects/{set}/manifest.tsv and the GLBs beside it, which are kept between runs.
"""


rule objects:
    """Fetch or unpack, verify and list the objects of one set; bad ones are listed as failed."""
    input:
        objects=JOBS.object_list,
    output:
        manifest=f"{R}/objects/{{set}}/manifest.tsv",
    log:
        f"{R}/logs/objects/{{set}}.log",
    benchmark:
        f"{R}/benchmarks/objects/{{set}}.jsonl"
    conda:
        "../../envs/render.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=60,
    params:
        settings=JOBS.settings("objects", "{set}"),
        reads=JOBS.reads("objects", "{set}"),
        content=JOBS.set_content,
        code=JOBS.code("aligncvc.objects.fetch"),
        folder=subpath(output.manifest, parent=True),
    shell:
        "python -m aligncvc.objects --settings {params.settings:q} --out {params.folder:q} > {log:q} 2>&1"
