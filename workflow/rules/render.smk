"""Renders.

In:  objects/{set}/manifest.tsv
Out: renders/{set}/manifest.tsv, a contact sheet, and beside them one folder of posed views per object.
     The folders are kept between runs: an object is rendered again only if its file or the settings changed.
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
        " > {log:q} 2>&1"
