"""Sampling.

In:  renders/eval/manifest.tsv, the verified weights, and the aligned weights a method uses
Out: sample/{pair}/{method}/manifest.json (written last), and beside it per object and seed the model and steps;
     sample/control/{control}/ in the same layout
"""


rule sample:
    """Turn each held-out input view into 3D Gaussians with one method of one pair, for every seed."""
    input:
        renders=f"{R}/renders/eval/manifest.tsv",
        weights=ancient(JOBS.checkpoints("sample", "{pair}", "{method}")),
        aligned=JOBS.aligned,
    output:
        manifest=f"{R}/sample/{{pair}}/{{method}}/manifest.json",
    log:
        f"{R}/logs/sample/{{pair}}/{{method}}.log",
    benchmark:
        f"{R}/benchmarks/sample/{{pair}}/{{method}}.jsonl"
    wildcard_constraints:
        pair=any_of(JOBS.config.pairs),
        method=any_of(JOBS.config.sample.methods),
    conda:
        "../../envs/torch.yaml"
    threads: JOBS.config.sample.threads
    resources:
        mem_mb=growing(8000),
        runtime=720,
        gpu=one_gpu,
    params:
        settings=JOBS.settings("sample", "{pair}", "{method}"),
        reads=JOBS.reads("sample", "{pair}", "{method}"),
        code=JOBS.code("aligncvc.sample.sets", "sample", "{pair}", "{method}"),
        folder=subpath(output.manifest, parent=True),
        aligned=lambda wildcards, input: ["--aligned", Path(input.aligned[0]).parent] if input.aligned else [],
    shell:
        "python -m aligncvc.sample --settings {params.settings:q} --renders {input.renders:q} {params.aligned:q}"
        " --out {params.folder:q} > {log:q} 2>&1"


rule control:
    """Views of known consistency, reconstructed by the judge, in the layout of samples."""
    input:
        renders=f"{R}/renders/eval/manifest.tsv",
        weights=ancient(JOBS.checkpoints("control", "{control}")),
    output:
        manifest=f"{R}/sample/control/{{control}}/manifest.json",
    log:
        f"{R}/logs/sample/control/{{control}}.log",
    benchmark:
        f"{R}/benchmarks/sample/control/{{control}}.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=60,
        gpu=one_gpu,
    params:
        settings=JOBS.settings("control", "{control}"),
        reads=JOBS.reads("control", "{control}"),
        code=JOBS.code("aligncvc.sample.control_views", "control", "{control}"),
        folder=subpath(output.manifest, parent=True),
    shell:
        "python -m aligncvc.sample.controls --settings {params.settings:q} --renders {input.renders:q}"
        " --out {params.folder:q} > {log:q} 2>&1"
