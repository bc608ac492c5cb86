"""Tables, figures and the report.

In:  results/metrics/<protocol>-<hash>/*.csv, the samples and the renders behind them
Out: results/table1.csv, table2.csv and costs.csv (.md, .tex and .json beside them), results/reported.md,
     results/figures/, results/report.html
"""


rule table:
    """One table of the paper, aggregated from the records of the methods that it shows."""
    input:
        metrics=PLAN.metrics,
        reported=REPORTED,
        discrimination="results/discrimination.csv",
    output:
        csv=report(
            "results/{table}.csv",
            caption="../report/table.rst",
            category="Results",
            labels={"result": "{table}"},
        ),
        twins=multiext("results/{table}", ".md", ".tex", ".json"),
    log:
        "results/logs/paper/{table}.log",
    benchmark:
        "results/benchmarks/paper/{table}.jsonl"
    conda:
        "../../envs/paper.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        config=RESOLVED,
        code=code("aligncvc.paper"),
        settings=PLAN.reads(*PAPER_READS),
    shell:
        "python -m aligncvc.paper table --config {params.config} --table {wildcards.table} --metrics {input.metrics}"
        " --discrimination {input.discrimination} --reported {input.reported} --out {output.csv} > {log} 2>&1"


rule costs:
    """What one object takes with each method: seconds by part, network calls, peak memory, hardware."""
    input:
        metrics=PLAN.records(PLAN.methods()),
        samples=expand("results/sample/{method}/manifest.json", method=PLAN.methods()),
    output:
        csv=report(
            "results/costs.csv",
            caption="../report/costs.rst",
            category="Results",
            labels={"result": "costs"},
        ),
        twins=multiext("results/costs", ".md", ".tex", ".json"),
    log:
        "results/logs/paper/costs.log",
    benchmark:
        "results/benchmarks/paper/costs.jsonl"
    conda:
        "../../envs/paper.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        config=RESOLVED,
        code=code("aligncvc.paper"),
        settings=PLAN.reads(*PAPER_READS),
    shell:
        "python -m aligncvc.paper costs --config {params.config} --metrics {input.metrics}"
        " --samples {input.samples} --out {output.csv} > {log} 2>&1"


rule reported:
    """The numbers that papers report, with how they were measured: a page, and its twin for the report."""
    input:
        REPORTED,
    output:
        page="results/reported.md",
        twin="results/reported.json",
    log:
        "results/logs/paper/reported.log",
    benchmark:
        "results/benchmarks/paper/reported.jsonl"
    conda:
        "../../envs/paper.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code("aligncvc.paper"),
    shell:
        "python -m aligncvc.paper reported --reported {input} --out {output.page} > {log} 2>&1"


rule figures:
    """The paper's figures 1, 3 and 5 in our data, consistency over the steps, controls, quality against cost."""
    input:
        metrics=PLAN.records([*PLAN.methods(), *PLAN.controls]),
        samples=expand("results/sample/{method}/manifest.json", method=[*PLAN.methods(), *PLAN.controls]),
        renders="results/renders/eval/manifest.tsv",
        discrimination="results/discrimination.csv",
        align=expand("results/align/{run}/metrics.jsonl", run=PLAN.runs),
    output:
        index="results/figures/index.json",
    log:
        "results/logs/paper/figures.log",
    benchmark:
        "results/benchmarks/paper/figures.jsonl"
    conda:
        "../../envs/paper.yaml"
    threads: 16
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        config=RESOLVED,
        code=code("aligncvc.paper"),
        settings=PLAN.reads(*PAPER_READS),
        folder=subpath(output.index, parent=True),
    shell:
        "python -m aligncvc.paper figures --config {params.config} --metrics {input.metrics} --samples {input.samples}"
        " --renders {input.renders} --discrimination {input.discrimination} --align {input.align}"
        " --out {params.folder} > {log} 2>&1"


rule report:
    """One self-contained page with the tables, the figures and models to turn."""
    input:
        tables=expand("results/{table}.csv", table=[*TABLES, "costs"]),
        twins=expand("results/{table}.json", table=[*TABLES, "costs"]),
        reported="results/reported.json",
        figures="results/figures/index.json",
        samples=expand("results/sample/{method}/manifest.json", method=PLAN.methods()),
        renders=expand("results/renders/{set}/manifest.tsv", set=["train", "eval"]),
    output:
        report(
            "results/report.html",
            caption="../report/report.rst",
            category="Results",
            labels={"result": "report page"},
        ),
    log:
        "results/logs/paper/report.log",
    benchmark:
        "results/benchmarks/paper/report.jsonl"
    conda:
        "../../envs/paper.yaml"
    threads: 16
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        config=RESOLVED,
        code=code("aligncvc.paper"),
        settings=PLAN.reads(*PAPER_READS),
    shell:
        "python -m aligncvc.paper report --config {params.config} --tables {input.tables} --figures {input.figures}"
        " --samples {input.samples} --renders {input.renders} --reported {input.reported} --out {output}"
        " > {log} 2>&1"
