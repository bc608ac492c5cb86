"""Pretraining of the demo's networks: `snakemake pretrain`. Not part of `all`: the demo ships their weights.

In:  renders of the configuration's pretrain.set (the furniture package)
Out: results/pretrain/{vae,unet,recon}.safetensors; resumable states beside them are not declared
"""


rule pretrain:
    """All three networks; copy them to assets/weights/ and record them in the ledger to use them."""
    input:
        expand("results/pretrain/{network}.safetensors", network=["vae", "unet", "recon"]),


rule pretrain_network:
    """Train one network from scratch; the multi-view UNet learns in the latents of the VAE."""
    input:
        renders=f"results/renders/{PLAN.config.pretrain.set}/manifest.tsv",
        vae=PLAN.pretrained_vae,
    output:
        "results/pretrain/{network}.safetensors",
    log:
        "results/logs/pretrain/{network}.log",
    benchmark:
        "results/benchmarks/pretrain/{network}.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: 16
    resources:
        mem_mb=8000,
        runtime=1440,
        gpu=1,
    params:
        config=RESOLVED,
        code=code("aligncvc.pretrain"),
        settings=PLAN.reads("seed", "render", "mvg", "recon", "pretrain"),
        vae=PLAN.vae_option,
    shell:
        "python -m aligncvc.pretrain {wildcards.network} --config {params.config} --renders {input.renders}"
        " {params.vae} --out {output} > {log} 2>&1"
