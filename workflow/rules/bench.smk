"""Speed: `snakemake bench`, the same as `make bench`.

Out: bench.json (name, value, unit, reference, ratio, hardware, some with a note), memory.csv
"""


rule bench:
    """Measure the rasteriser against its oracle and the other speeds that the project promises."""
    output:
        f"{R}/bench.json",
    log:
        f"{R}/logs/bench.log",
    conda:
        "../../envs/torch.yaml"
    threads: 16
    resources:
        mem_mb=growing(24000),  # the full-size networks; pieces that find less are left out
        runtime=120,
    params:
        code=JOBS.code("aligncvc.bench"),
    shell:
        "python -m aligncvc.bench --out {output:q} > {log:q} 2>&1"


rule memory:
    """Peak memory of one training step by what is trained how, each variant in a process of its own."""
    output:
        f"{R}/memory.csv",
    log:
        f"{R}/logs/memory.log",
    conda:
        "../../envs/torch.yaml"
    # Alone on the machine: what is measured are peaks.
    threads: 16
    resources:
        mem_mb=growing(8000),
        runtime=60,
        gpu=1,
    params:
        settings=JOBS.settings(*JOBS.measured_run()),
        reads=JOBS.reads(*JOBS.measured_run()),
        code=JOBS.code("aligncvc.bench.training_memory", *JOBS.measured_run()),
    shell:
        "python -m aligncvc.bench.training_memory --settings {params.settings:q} --out {output:q} > {log:q} 2>&1"
