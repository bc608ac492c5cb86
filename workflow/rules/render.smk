"""Renders.

In:  objects/{set}/manifest.tsv, or the list of a sharded set
Out: renders/{set}/manifest.tsv, a contact sheet, and beside them one folder of posed views per object.
     The folders are kept between runs: an object is rendered again only if its file or the settings changed.
     A sharded set (objects.shard_size) has one archive a shard, and its manifest lists the shards.
"""


rule renders:
    """BlenderProc renders of one set. One job for the whole set, so that Blender's start-up is paid once."""
    input:
        objects=f"{R}/objects/{{set}}/manifest.tsv",
    output:
        manifest=f"{R}/renders/{{set}}/manifest.tsv",
        sheet=report(
            f"{R}/renders/{{set}}/contact_sheet.png",
            caption="../report/contact_sheet.rst",
            category="Data",
            labels={"figure": "contact sheet", "set": "{set}"},
        ),
    log:
        f"{R}/logs/renders/{{set}}.log",
    benchmark:
        f"{R}/benchmarks/renders/{{set}}.jsonl"
    conda:
        "../../envs/render.yaml"
    threads: 16
    resources:
        mem_mb=growing(4000),
        runtime=240,
    params:
        settings=JOBS.settings("render", "{set}"),
        reads=JOBS.reads("render", "{set}"),
        code=JOBS.code("aligncvc.render.run"),
        folder=subpath(output.manifest, parent=True),
    shell:
        "python -m aligncvc.render --settings {params.settings:q} --objects {input.objects:q} --out {params.folder:q}"
        " --threads {threads:q}"
        " > {log:q} 2>&1"


rule shard:
    """The next so many objects of a list: fetched, checked, rendered, written into one archive."""
    input:
        # Its own lines are in the key: those of other shards may change.
        objects=ancient(lambda wildcards: JOBS.here(JOBS.config.objects.sets[wildcards.sharded].list)),
    output:
        archive=f"{R}/renders/{{sharded}}/shards/{{number}}/views.tar",
        index=f"{R}/renders/{{sharded}}/shards/{{number}}/index.tsv",
    log:
        f"{R}/logs/shards/{{sharded}}/{{number}}.log",
    benchmark:
        f"{R}/benchmarks/shards/{{sharded}}/{{number}}.jsonl"
    conda:
        "../../envs/render.yaml"
    threads: 4
    resources:
        mem_mb=growing(4000),
        runtime=720,
    params:
        settings=JOBS.settings("shard", "{sharded}"),
        key=JOBS.shard_key,
        content=JOBS.shard_content,
        folder=subpath(output.archive, parent=True),
    shell:
        "python -m aligncvc.render.shard --settings {params.settings:q} --number {wildcards.number:q}"
        " --threads {threads:q} --out {params.folder:q} > {log:q} 2>&1"


rule gather:
    """The manifest of a sharded set, and beside it failures.tsv, which stays when the rule fails."""
    input:
        JOBS.shards,
    output:
        manifest=f"{R}/renders/{{sharded}}/manifest.tsv",
    log:
        f"{R}/logs/renders/{{sharded}}.log",
    benchmark:
        f"{R}/benchmarks/renders/{{sharded}}.jsonl"
    conda:
        "../../envs/render.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=60,
    params:
        settings=JOBS.settings("shard", "{sharded}"),
        shards=JOBS.shard_keys_hash,
        code=JOBS.code("aligncvc.render.gather"),
        folder=subpath(output.manifest, parent=True),
    shell:
        "python -m aligncvc.render.gather --settings {params.settings:q} --out {params.folder:q} > {log:q} 2>&1"
