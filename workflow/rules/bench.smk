"""Speed: `snakemake bench`, the same as `make bench`.

Out: results/bench.json (name, value, unit, reference, ratio, hardware, some with a note)
"""


rule bench:
    """Measure the rasteriser against its oracle and the other speeds that the project promises."""
    output:
        "results/bench.json",
    log:
        "results/logs/bench.log",
    conda:
        "../../envs/torch.yaml"
    threads: 16
    resources:
        mem_mb=24000,  # the full-size networks; pieces that find less are left out
        runtime=120,
    params:
        code=code("aligncvc.bench"),
    shell:
        "python -m aligncvc.bench --out {output} > {log} 2>&1"
