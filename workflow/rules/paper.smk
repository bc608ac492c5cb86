"""Tables, figures and the report.

In:  metrics/<protocol>-<hash>/**.csv, the samples and the renders behind them
Out: table1.csv, table2.csv and costs.csv (.md, .tex and .json beside them), reported.md, figures/, report.html;
     verdict/CLAIMS/ where the configuration names config/claims/CLAIMS.yaml
"""


rule table:
    """One table of the paper, aggregated from the records of the methods that it shows."""
    input:
        metrics=JOBS.table_records,
        reported=REPORTED,
        discrimination=JOBS.discrimination(),
    output:
        csv=report(
            f"{R}/{{table}}.csv",
            caption="../report/table.rst",
            category="Results",
            labels={"result": "{table}"},
        ),
        twins=multiext(f"{R}/{{table}}", ".md", ".tex", ".json"),
    log:
        f"{R}/logs/paper/{{table}}.log",
    benchmark:
        f"{R}/benchmarks/paper/{{table}}.jsonl"
    conda:
        "../../envs/paper.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=10,
    params:
        settings=JOBS.settings("paper"),
        reads=JOBS.reads("paper"),
        code=JOBS.code("aligncvc.paper.tables"),
        discrimination=lambda wildcards, input: [f"--discrimination={path}" for path in input.discrimination],
    shell:
        "python -m aligncvc.paper table --settings {params.settings:q} --table {wildcards.table:q} --metrics {input.metrics:q}"
        " {params.discrimination:q} --reported {input.reported:q} --out {output.csv:q} > {log:q} 2>&1"


rule costs:
    """What one object takes with each method: seconds by part, network calls, peak memory, hardware."""
    input:
        metrics=JOBS.records([*JOBS.rows, *JOBS.predictions]),
        samples=JOBS.manifests(JOBS.rows),
    output:
        csv=report(
            f"{R}/costs.csv",
            caption="../report/costs.rst",
            category="Results",
            labels={"result": "costs"},
        ),
        twins=multiext(f"{R}/costs", ".md", ".tex", ".json"),
    log:
        f"{R}/logs/paper/costs.log",
    benchmark:
        f"{R}/benchmarks/paper/costs.jsonl"
    conda:
        "../../envs/paper.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=10,
    params:
        settings=JOBS.settings("paper"),
        reads=JOBS.reads("paper"),
        code=JOBS.code("aligncvc.paper.tables"),
    shell:
        "python -m aligncvc.paper costs --settings {params.settings:q} --metrics {input.metrics:q}"
        " --samples {input.samples:q} --out {output.csv:q} > {log:q} 2>&1"


rule reported:
    """The numbers that papers report, with how they were measured: a page, and its twin for the report."""
    input:
        REPORTED,
    output:
        page=f"{R}/reported.md",
        twin=f"{R}/reported.json",
    log:
        f"{R}/logs/paper/reported.log",
    benchmark:
        f"{R}/benchmarks/paper/reported.jsonl"
    conda:
        "../../envs/paper.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=10,
    params:
        code=JOBS.code("aligncvc.paper.reported"),
    shell:
        "python -m aligncvc.paper reported --reported {input:q} --out {output.page:q} > {log:q} 2>&1"


rule figures:
    """The paper's figures 1, 3 and 5 in our data, consistency over the steps, controls, quality against cost."""
    input:
        metrics=JOBS.records([*JOBS.rows, *JOBS.controls]),
        samples=JOBS.manifests([*JOBS.rows, *JOBS.controls]),
        renders=f"{R}/renders/eval/manifest.tsv",
        discrimination=JOBS.discrimination(),
        align=JOBS.training_logs(),
    output:
        index=f"{R}/figures/index.json",
    log:
        f"{R}/logs/paper/figures.log",
    benchmark:
        f"{R}/benchmarks/paper/figures.jsonl"
    conda:
        "../../envs/paper.yaml"
    threads: 16
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        settings=JOBS.settings("paper"),
        reads=JOBS.reads("paper"),
        code=JOBS.code("aligncvc.paper.figures"),
        folder=subpath(output.index, parent=True),
        discrimination=lambda wildcards, input: [f"--discrimination={path}" for path in input.discrimination],
    shell:
        "python -m aligncvc.paper figures --settings {params.settings:q} --metrics {input.metrics:q} --samples {input.samples:q}"
        " --renders {input.renders:q} {params.discrimination:q} --align {input.align:q}"
        " --out {params.folder:q} > {log:q} 2>&1"


rule report:
    """One self-contained page with the tables, the figures and models to turn."""
    input:
        tables=expand(f"{R}/{{table}}.csv", table=[*TABLES, "costs"]),
        twins=expand(f"{R}/{{table}}.json", table=[*TABLES, "costs"]),
        reported=f"{R}/reported.json",
        figures=f"{R}/figures/index.json",
        samples=JOBS.manifests(JOBS.rows),
        renders=expand(f"{R}/renders/{{set}}/manifest.tsv", set=["train", "eval"]),
    output:
        report(
            f"{R}/report.html",
            caption="../report/report.rst",
            category="Results",
            labels={"result": "report page"},
        ),
    log:
        f"{R}/logs/paper/report.log",
    benchmark:
        f"{R}/benchmarks/paper/report.jsonl"
    conda:
        "../../envs/paper.yaml"
    threads: 16
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        settings=JOBS.settings("paper"),
        reads=JOBS.reads("paper"),
        code=JOBS.code("aligncvc.paper.report"),
    shell:
        "python -m aligncvc.paper report --settings {params.settings:q} --tables {input.tables:q} --figures {input.figures:q}"
        " --samples {input.samples:q} --renders {input.renders:q} --reported {input.reported:q} --out {output:q}"
        " > {log:q} 2>&1"


rule verdict:
    """Judge the claims of `paper.claims` by this run's records: a page, figures and verdict.json."""
    input:
        metrics=JOBS.records([*JOBS.rows, *JOBS.controls]),
        samples=JOBS.manifests([*JOBS.rows, *JOBS.controls]),
        renders=f"{R}/renders/eval/manifest.tsv",
        discrimination=JOBS.discrimination(),
        align=JOBS.training_logs(),
        # Of a step of training, so only where something is trained.
        memory=[f"{R}/memory.csv"] if JOBS.plan.trained_runs else [],
        renderings=JOBS.renderings(),
        claims=JOBS.here(JOBS.claims),
        notes=JOBS.notes(),
    output:
        f"{R}/verdict/{JOBS.claims.stem}/verdict.json",
    log:
        f"{R}/logs/paper/verdict.log",
    benchmark:
        f"{R}/benchmarks/paper/verdict.jsonl"
    conda:
        "../../envs/paper.yaml"
    threads: 16
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        settings=JOBS.settings("paper"),
        reads=JOBS.reads("paper"),
        code=JOBS.code("aligncvc.paper.verdict"),
        folder=subpath(output[0], parent=True),
        notes=lambda wildcards, input: [f"--notes={path}" for path in input.notes],
        training=lambda wildcards, input: (
            ["--align", *input.align, "--memory", *input.memory] if input.memory else []
        ),
        discrimination=lambda wildcards, input: [f"--discrimination={path}" for path in input.discrimination],
    shell:
        "python -m aligncvc.paper verdict --settings {params.settings:q} --claims {input.claims:q}"
        " --metrics {input.metrics:q} --samples {input.samples:q} --renders {input.renders:q}"
        " {params.discrimination:q} {params.training:q}"
        " --renderings {input.renderings:q} {params.notes:q} --out {params.folder:q} > {log:q} 2>&1"
