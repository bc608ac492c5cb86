"""Tables, figures and the report.

In:  results/metrics/<protocol>-<hash>/*.csv, the samples and the renders behind them
Out: results/table1.csv and table2.csv (.md and .tex beside them), results/figures/, results/report.html
"""


rule table:
    """One table of the paper, aggregated from the records of the methods that it shows."""
    input:
        metrics=PLAN.metrics,
    output:
        csv=report(
            "results/{table}.csv",
            caption="../report/table.rst",
            category="Results",
            labels={"result": "{table}"},
        ),
        twins=multiext("results/{table}", ".md", ".tex"),
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
        " --out {output.csv} > {log} 2>&1"


rule figures:
    """The figures: the four steps, the consistency curve and strip, the qualitative comparison."""
    input:
        metrics=PLAN.records(PLAN.methods()),
        samples=expand("results/sample/{method}/manifest.json", method=PLAN.methods()),
        renders="results/renders/eval/manifest.tsv",
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
        " --renders {input.renders} --align {input.align} --out {params.folder} > {log} 2>&1"


rule report:
    """One self-contained page with the tables, the figures and models to turn."""
    input:
        tables=expand("results/{table}.csv", table=TABLES),
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
        " --samples {input.samples} --renders {input.renders} --out {output} > {log} 2>&1"
