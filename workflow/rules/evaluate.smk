"""Metrics.

In:  sample/{pair}/{method}/manifest.json, renders/eval/manifest.tsv, objects/eval/manifest.tsv
Out: metrics/<protocol>-<hash>/{pair}/{method}.csv, one record a row; beside it the protocol and the resamples of sets
     metrics/<protocol>-<hash>/elsewhere/{prediction}.csv: the same of a folder that evaluate.predictions names
     discrimination.csv: which metrics rank the controls, views whose consistency is known
     metrics/<protocol>-<hash>/renderings/{pair}/{method}.csv: what a verdict needs beside the records
     metrics/<protocol>-<hash>/met3r/{pair}/{method}.csv: only by `snakemake met3r`
"""


rule evaluate:
    """Compare one method's models and views with the ground truth and with each other."""
    input:
        sample=f"{R}/sample/{{pair}}/{{method}}/manifest.json",
        renders=f"{R}/renders/eval/manifest.tsv",
        objects=f"{R}/objects/eval/manifest.tsv",
        weights=ancient(JOBS.checkpoints("evaluate", "{pair}", "{method}")),
    output:
        f"{JOBS.metrics}/{{pair}}/{{method}}.csv",
    log:
        f"{R}/logs/evaluate/{{pair}}/{{method}}.log",
    benchmark:
        f"{R}/benchmarks/evaluate/{{pair}}/{{method}}.jsonl"
    conda:
        "../../envs/torch.yaml"
    # Objects are scored one after the other: several methods at once use more cores better.
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=240,
    params:
        settings=JOBS.settings("evaluate", "{pair}", "{method}"),
        reads=JOBS.reads("evaluate", "{pair}", "{method}"),
        code=JOBS.code("aligncvc.evaluate.score", "evaluate", "{pair}", "{method}"),
        sample=subpath(input.sample, parent=True),
    shell:
        "python -m aligncvc.evaluate --settings {params.settings:q} --sample {params.sample:q}"
        " --renders {input.renders:q} --objects {input.objects:q} --out {output:q} > {log:q} 2>&1"


rule prediction:
    """Compare what another program made, a folder of evaluate.predictions, with the ground truth."""
    input:
        renders=f"{R}/renders/eval/manifest.tsv",
        objects=f"{R}/objects/eval/manifest.tsv",
        weights=ancient(JOBS.checkpoints("prediction", "{prediction}")),
    output:
        f"{JOBS.metrics}/elsewhere/{{prediction}}.csv",
    log:
        f"{R}/logs/prediction/{{prediction}}.log",
    benchmark:
        f"{R}/benchmarks/prediction/{{prediction}}.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=240,
    params:
        settings=JOBS.settings("prediction", "{prediction}"),
        reads=JOBS.reads("prediction", "{prediction}"),
        content=JOBS.prediction_content,
        code=JOBS.code("aligncvc.evaluate.predictions", "prediction", "{prediction}"),
    shell:
        "python -m aligncvc.evaluate --settings {params.settings:q} --renders {input.renders:q}"
        " --objects {input.objects:q} --out {output:q} > {log:q} 2>&1"


rule renderings:
    """Sharpness of one method's samples; of the methods in evaluate.curves the judge's view of renderings."""
    input:
        sample=f"{R}/sample/{{pair}}/{{method}}/manifest.json",
        renders=f"{R}/renders/eval/manifest.tsv",
        weights=ancient(JOBS.checkpoints("evaluate", "{pair}", "{method}")),
    output:
        f"{JOBS.metrics}/renderings/{{pair}}/{{method}}.csv",
    log:
        f"{R}/logs/renderings/{{pair}}/{{method}}.log",
    benchmark:
        f"{R}/benchmarks/renderings/{{pair}}/{{method}}.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        settings=JOBS.settings("evaluate", "{pair}", "{method}"),
        reads=JOBS.reads("evaluate", "{pair}", "{method}"),
        code=JOBS.code("aligncvc.evaluate.renderings", "evaluate", "{pair}", "{method}"),
        sample=subpath(input.sample, parent=True),
    shell:
        "python -m aligncvc.evaluate.renderings --settings {params.settings:q} --sample {params.sample:q}"
        " --renders {input.renders:q} --out {output:q} > {log:q} 2>&1"


rule discrimination:
    """How every metric ranks the controls. Fails if one that the configuration relies on does not."""
    input:
        JOBS.records(JOBS.controls),
    output:
        csv=report(
            f"{R}/discrimination.csv",
            caption="../report/discrimination.rst",
            category="Results",
            labels={"result": "discrimination"},
        ),
        page=f"{R}/discrimination.md",
    log:
        f"{R}/logs/evaluate/discrimination.log",
    benchmark:
        f"{R}/benchmarks/evaluate/discrimination.jsonl"
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=10,
    params:
        settings=JOBS.settings("discrimination"),
        reads=JOBS.reads("discrimination"),
        code=JOBS.code("aligncvc.evaluate.ranking"),
    shell:
        "python -m aligncvc.evaluate.discrimination --settings {params.settings:q} --metrics {input:q}"
        " --out {output.csv:q} > {log:q} 2>&1"


rule met3r:
    """MEt3R of every method and control. Not part of `all`: see `python -m aligncvc.evaluate.met3r --help`."""
    input:
        [f"{JOBS.metrics}/met3r/{pair}/{method}.csv" for pair, method in [*JOBS.rows, *JOBS.controls]],


rule met3r_method:
    """Neighbouring generated views compared by the user's own met3r package, on a GPU."""
    input:
        sample=f"{R}/sample/{{pair}}/{{method}}/manifest.json",
        renders=f"{R}/renders/eval/manifest.tsv",
    output:
        f"{JOBS.metrics}/met3r/{{pair}}/{{method}}.csv",
    log:
        f"{R}/logs/met3r/{{pair}}/{{method}}.log",
    benchmark:
        f"{R}/benchmarks/met3r/{{pair}}/{{method}}.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=growing(16000),
        runtime=240,
        gpu=1,
    params:
        settings=JOBS.settings("evaluate", "{pair}", "{method}"),
        reads=JOBS.reads("evaluate", "{pair}", "{method}"),
        code=JOBS.code("aligncvc.evaluate.met3r"),
        sample=subpath(input.sample, parent=True),
    shell:
        "python -m aligncvc.evaluate.met3r --settings {params.settings:q} --sample {params.sample:q}"
        " --renders {input.renders:q} --out {output:q} > {log:q} 2>&1"
