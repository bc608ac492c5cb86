"""Renders.

In:  results/objects/{set}/manifest.tsv
Out: results/renders/{set}/manifest.tsv, a contact sheet, and beside them one folder of posed views per object.
     The folders are kept between runs: an object is rendered again only if its file or the settings changed.
"""


rule renders:
    """BlenderProc renders of one set. One job for the whole set, so that Blender's start-up is paid once."""
    input:
        objects="results/objects/{set}/manifest.tsv",
    output:
        manifest="results/renders/{set}/manifest.tsv",
        sheet=report(
            "results/renders/{set}/contact_sheet.png",
            caption="../report/contact_sheet.rst",
            category="Data",
            labels={"figure": "contact sheet", "set": "{set}"},
        ),
    log:
        "results/logs/renders/{set}.log",
    benchmark:
        "results/benchmarks/renders/{set}.jsonl"
    conda:
        "../../envs/render.yaml"
    threads: 16
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        config=RESOLVED,
        code=code("aligncvc.render"),
        settings=PLAN.reads("seed", "rendering.{set}", "objects.sets.{set}.variants"),
        folder=subpath(output.manifest, parent=True),
    shell:
        "python -m aligncvc.render --config {params.config} --set {wildcards.set} --objects {input.objects}"
        " --out {params.folder} > {log} 2>&1"
