"""Configuration and helpers of all rules.

In:  config/config.yaml, or what --configfile and --config give.
Out: results/config.yaml, the complete validated configuration that every stage reads.
"""

import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

# This checkout's package, whatever else is installed.
sys.path.insert(0, str(Path(str(workflow.current_basedir)).resolve().parents[1] / "src"))

from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT
from aligncvc.workflow import Plan, code, here, shell_prefix, use_this_python

# Not a rule's output: each stage reruns for the sections that it reads (params: settings), not for the file.
RESOLVED = "results/config.yaml"

try:
    use_this_python()
    PLAN = Plan(config, ", ".join(map(str, workflow.configfiles)))
    LEDGER_HASH = PLAN.ledger_hash()
    PLAN.check_place(RESOLVED)
except UserError as error:
    raise WorkflowError(str(error)) from None

validate(PLAN.data, schema="../../config/config.schema.json")
shell.prefix(shell_prefix())


# What a stage reads of the configuration: a change elsewhere does not rerun it.
MODEL_SECTIONS = ("seed", "render", "mvg", "recon", "checkpoints")

ALIGN_READS = (
    *MODEL_SECTIONS,
    "align.runs.{run}",
    *(f"align.{key}" for key in PLAN.section("align") if key != "runs"),
)
SAMPLE_READS = (
    *MODEL_SECTIONS,
    "align.lora_rank",
    *(f"sample.methods.{{method}}.{key}" for key in ("sampler", "steps", "run")),
    "sample.timesteps",
    "protocol.seeds",
    "protocol.metrics.geometry.voxel",
)
PAPER_READS = ("seed", "pair", "render", "sample", "evaluate", "protocol", "paper")
TABLES = ("table1", "table2")

# Numbers that papers print, one file a paper.
REPORTED = sorted(here(path.relative_to(PROJECT_ROOT)) for path in PROJECT_ROOT.glob("config/reported/*.csv"))


onstart:
    PLAN.write(RESOLVED)


wildcard_constraints:
    table="|".join(TABLES),
    network="vae|unet|recon",
    set="|".join(PLAN.sets),
    run="|".join(PLAN.config.align.runs),
    control="|".join(PLAN.config.evaluate.controls),
    method="|".join([*PLAN.methods(), *PLAN.controls]),
