"""Metrics.

In:  results/sample/{method}/manifest.json, results/renders/eval/manifest.tsv, results/objects/eval/manifest.tsv
Out: results/metrics/<protocol>-<hash>/{method}.csv, one record a row; the protocol in full beside it
     results/discrimination.csv: which metrics rank the controls, views whose consistency is known
     results/metrics/<protocol>-<hash>/met3r/{method}.csv: only by `snakemake met3r`
"""


rule control:
    """Views of known consistency, reconstructed by the pretrained reconstructor, in the layout of samples."""
    input:
        renders="results/renders/eval/manifest.tsv",
        weights="results/checkpoints.txt",
    output:
        manifest="results/sample/control-{control}/manifest.json",
    log:
        "results/logs/sample/control-{control}.log",
    benchmark:
        "results/benchmarks/sample/control-{control}.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=1,
    params:
        config=RESOLVED,
        code=code("aligncvc.sample.controls"),
        settings=PLAN.reads(
            "seed", "render", "recon", "checkpoints", "protocol.seeds", "protocol.metrics.geometry.voxel"
        ),
        ledger=LEDGER_HASH,
        folder=subpath(output.manifest, parent=True),
    shell:
        "python -m aligncvc.sample.controls --config {params.config} --control {wildcards.control}"
        " --renders {input.renders} --out {params.folder} > {log} 2>&1"


rule evaluate:
    """Compare one method's models and views with the ground truth and with each other."""
    input:
        sample="results/sample/{method}/manifest.json",
        renders="results/renders/eval/manifest.tsv",
        objects="results/objects/eval/manifest.tsv",
        weights="results/checkpoints.txt",
    output:
        f"{PLAN.metrics_folder}/{{method}}.csv",
    log:
        "results/logs/evaluate/{method}.log",
    benchmark:
        "results/benchmarks/evaluate/{method}.jsonl"
    conda:
        "../../envs/torch.yaml"
    # Objects are scored one after the other: several methods at once use more cores better.
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        config=RESOLVED,
        code=code("aligncvc.evaluate"),
        settings=PLAN.reads("pair", "protocol", "evaluate.curves", *MODEL_SECTIONS),
        sample=subpath(input.sample, parent=True),
    shell:
        "python -m aligncvc.evaluate --config {params.config} --sample {params.sample} --renders {input.renders}"
        " --objects {input.objects} --out {output} > {log} 2>&1"


rule discrimination:
    """Judge every metric by how it ranks the controls. Fails if one that the configuration relies on does not."""
    input:
        PLAN.records(PLAN.controls),
    output:
        csv=report(
            "results/discrimination.csv",
            caption="../report/discrimination.rst",
            category="Results",
            labels={"result": "discrimination"},
        ),
        page="results/discrimination.md",
    log:
        "results/logs/evaluate/discrimination.log",
    benchmark:
        "results/benchmarks/evaluate/discrimination.jsonl"
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        config=RESOLVED,
        code=code("aligncvc.evaluate.discrimination"),
        settings=PLAN.reads("seed", "evaluate"),
    shell:
        "python -m aligncvc.evaluate.discrimination --config {params.config} --metrics {input} --out {output.csv}"
        " > {log} 2>&1"


rule met3r:
    """MEt3R of every method and control. Not part of `all`: see `python -m aligncvc.evaluate.met3r --help`."""
    input:
        expand(f"{PLAN.metrics_folder}/met3r/{{method}}.csv", method=[*PLAN.methods(), *PLAN.controls]),


rule met3r_method:
    """Neighbouring generated views compared by the user's own met3r package, on a GPU."""
    input:
        sample="results/sample/{method}/manifest.json",
        renders="results/renders/eval/manifest.tsv",
    output:
        f"{PLAN.metrics_folder}/met3r/{{method}}.csv",
    log:
        "results/logs/met3r/{method}.log",
    benchmark:
        "results/benchmarks/met3r/{method}.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=16000,
        runtime=240,
        gpu=1,
    params:
        config=RESOLVED,
        code=code("aligncvc.evaluate.met3r"),
        settings=PLAN.reads("pair", "protocol", "checkpoints"),
        sample=subpath(input.sample, parent=True),
    shell:
        "python -m aligncvc.evaluate.met3r --config {params.config} --sample {params.sample}"
        " --renders {input.renders} --out {output} > {log} 2>&1"
