"""Configuration and helpers of all rules.

In:  config/config.yaml, or what --configfile and --config give.
Out: settings/**.json below the results, one small file a job: all that its stage is told of the configuration.
"""

import shutil
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

# This checkout's package, whatever else is installed.
sys.path.insert(0, str(Path(str(workflow.current_basedir)).resolve().parents[1] / "src"))

try:
    from aligncvc.errors import UserError
    from aligncvc.files import PROJECT_ROOT
    from aligncvc.workflow.jobs import JobTable, any_of, require_no_braces, shell_prefix, use_this_python
except ModuleNotFoundError as error:
    raise WorkflowError(
        f"the module {error.name} is not there: clone the repository, run `make env` in it and name its "
        "workflow/Snakefile by path, since rules alone (github(...)) come without the package"
    ) from None

try:
    require_no_braces()
    use_this_python()
    JOBS = JobTable(
        config,
        ", ".join(map(str, workflow.configfiles)),
        # The modifier of now: that of another module is in its place when rules ask for their inputs. Only the
        # module's prefix: where there is no shared disk, storage has a place of its own for outputs.
        lambda path, modifier=workflow.modifier.path_modifier: str(modifier.replace_prefix(path)),
    )
    # Now and not in `onstart`, which does not run where this workflow is a module of another.
    JOBS.write()
except UserError as error:
    raise WorkflowError(str(error)) from None

validate(JOBS.config.model_dump(mode="json"), schema="../../config/config.schema.json")
shell.prefix(shell_prefix())

# Where everything goes: results, or results/NAME with `experiment: NAME`.
R = JOBS.root
TABLES = ("table1", "table2")

# Numbers that papers print, one file a paper.
REPORTED = sorted(
    JOBS.here(path.relative_to(PROJECT_ROOT)) for path in PROJECT_ROOT.glob("config/reported/*.csv")
)


def growing(mem_mb):
    """Memory that a job asks for, more at each attempt: a scheduler ends a job that takes more than it asked."""
    return lambda wildcards, attempt: mem_mb * attempt


def one_gpu(wildcards):
    """A GPU for the job if this machine has any; elsewhere only the other machine knows."""
    return int(workflow.non_local_exec or shutil.which("nvidia-smi") is not None)


wildcard_constraints:
    table="|".join(TABLES),
    network=r"[^/]+",
    set=any_of(JOBS.whole),
    sharded=any_of(JOBS.sharded),
    number=r"\d+",
    checkpoint=r"[^/]+",
    digest=r"[0-9a-f]{12}|unrecorded",
    run=any_of(JOBS.config.align.runs),
    control=any_of(JOBS.config.evaluate.controls),
    pair=any_of([*JOBS.config.pairs, "control"]),
    method=any_of([*JOBS.config.sample.methods, *JOBS.config.evaluate.controls]),
    prediction=any_of(JOBS.config.evaluate.predictions),
