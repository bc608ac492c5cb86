"""The verdict: `snakemake verdict` and `snakemake align_full`. Not part of `all`: hours on two cores.

Both run this same workflow once more, with config/verdict.yaml and in a folder of its own, so that the demo's
results stay as they are and whatever is finished there is kept. docs/verdict.md says how to do it by hand.

In:  config/verdict.yaml, config/protocols/verdict.yaml and the weights of the demo's pair
Out: results/verdict/results/, laid out like results/; docs/verdict/, which is committed and so not declared;
     results/verdict.json, a copy of docs/verdict/verdict.json, by which snakemake knows that it is done
"""

VERDICT_INPUTS = {
    "snakefile": here("Snakefile"),
    "configfile": here("config/verdict.yaml"),
    "protocol": here("config/protocols/verdict.yaml"),
    "ledger": PLAN.ledger,
}
VERDICT_STAGES = ("objects", "render", "align", "sample", "evaluate", "evaluate.controls", "paper")


rule memory:
    """Peak memory of one training step by what is trained how, each variant in a process of its own."""
    input:
        renders="results/renders/train/manifest.tsv",
        weights="results/checkpoints.txt",
    output:
        "results/memory.csv",
    log:
        "results/logs/memory.log",
    conda:
        "../../envs/torch.yaml"
    # Alone on the machine: what is measured are peaks.
    threads: 16
    resources:
        mem_mb=8000,
        runtime=60,
        gpu=1,
    params:
        config=RESOLVED,
        code=code("aligncvc.align.memory"),
        settings=PLAN.reads(*MODEL_SECTIONS, "align"),
        ledger=LEDGER_HASH,
    shell:
        "python -m aligncvc.align.memory --config {params.config} --renders {input.renders} --out {output}"
        " > {log} 2>&1"


rule verdict:
    """Train every alignment run in full, compare them on held-out furniture, write docs/verdict."""
    input:
        **VERDICT_INPUTS,
    output:
        "results/verdict.json",
    log:
        "results/logs/verdict.log",
    conda:
        "../../envs/paper.yaml"
    threads: 16
    resources:
        mem_mb=16000,
        runtime=2880,
        gpu=1,
    params:
        code=[code(f"aligncvc.{stage}") for stage in VERDICT_STAGES] + [code("aligncvc.paper.verdict")],
        # The one that has snakemake, whatever environment the rule has.
        python=sys.executable,
        folder=subpath(output[0], strip_suffix=".json"),
        # Under version control, hence without a list of what was written there, and --force.
        out=here("docs/verdict"),
    shell:
        "{params.python} -m snakemake --snakefile {input.snakefile} --configfile {input.configfile}"
        " --directory {params.folder} --cores {threads} -- all results/memory.csv > {log} 2>&1\n"
        "python -m aligncvc.paper.verdict --results {params.folder}/results --out {params.out} --force"
        " >> {log} 2>&1\n"
        "cp {params.out}/verdict.json {output}"


rule align_full:
    """The full post-training of the bundled aligned pair, from the pretrained one."""
    input:
        **VERDICT_INPUTS,
    output:
        student="results/align_full/student.safetensors",
        recon="results/align_full/recon.safetensors",
    log:
        "results/logs/align_full.log",
    conda:
        "../../envs/torch.yaml"
    threads: 16
    resources:
        mem_mb=16000,
        runtime=2880,
        gpu=1,
    params:
        code=[code(f"aligncvc.{stage}") for stage in ("objects", "render", "align")],
        python=sys.executable,
        folder="results/verdict",
        made="results/align/both",
        out=subpath(output.student, parent=True),
    shell:
        "{params.python} -m snakemake --snakefile {input.snakefile} --configfile {input.configfile}"
        " --directory {params.folder} --cores {threads}"
        " -- {params.made}/student.safetensors {params.made}/recon.safetensors > {log} 2>&1\n"
        "cp {params.folder}/{params.made}/*.safetensors {params.out}"
