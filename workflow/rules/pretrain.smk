"""Pretraining of the demo's networks: `snakemake pretrain`. Not part of `all`: the demo ships their weights.

In:  renders of the configuration's pretrain.sets (the furniture package)
Out: pretrain/vae.safetensors and one file a generator and a reconstructor; resumable states beside them are not declared
"""


rule pretrain:
    """All networks; copy them to assets/weights/ and record them in the ledger to use them."""
    input:
        expand(f"{R}/pretrain/{{network}}.safetensors", network=JOBS.pretrained),


rule pretrain_network:
    """Train one network: generators learn in the latents of the VAE, reconstructors see generated views too."""
    input:
        renders=expand(f"{R}/renders/{{name}}/manifest.tsv", name=JOBS.config.pretrain.sets),
        vae=JOBS.trained_before("vae"),
        generator=JOBS.trained_before("generator"),
    output:
        f"{R}/pretrain/{{network}}.safetensors",
    log:
        f"{R}/logs/pretrain/{{network}}.log",
    benchmark:
        f"{R}/benchmarks/pretrain/{{network}}.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: 16
    resources:
        mem_mb=growing(8000),
        runtime=1440,
        gpu=one_gpu,
    params:
        settings=JOBS.settings("pretrain", "{network}"),
        reads=JOBS.reads("pretrain", "{network}"),
        code=lambda wildcards: JOBS.code(
            f"aligncvc.pretrain.{JOBS.jobs['pretrain', wildcards.network].part}", "pretrain", "{network}"
        )(wildcards),
        vae=lambda wildcards, input: [f"--vae={path}" for path in input.vae],
        generator=lambda wildcards, input: [f"--generator={path}" for path in input.generator],
    shell:
        "python -m aligncvc.pretrain {wildcards.network:q} --settings {params.settings:q} --renders {input.renders:q}"
        " {params.vae:q} {params.generator:q} --out {output:q} > {log:q} 2>&1"
