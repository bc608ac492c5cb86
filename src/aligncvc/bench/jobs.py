"""The jobs that benches run: one pair of a configuration, whatever methods and runs it defines."""

from __future__ import annotations

from pathlib import Path

from aligncvc.config.alignment import AlignRun, Training
from aligncvc.config.jobs.align import AlignJob
from aligncvc.config.jobs.sample import SampleJob
from aligncvc.config.plan import UNROLLED_STEPS, Plan, chosen
from aligncvc.config.root import load_config
from aligncvc.models.specs import PairSpec

RUN = "both"
BOTH = AlignRun()
"""Soft and hard alignment, the paper's run."""


def plan_of(config: Path | None) -> Plan:
    """The jobs of a configuration file; None: config/config.yaml."""
    return Plan(load_config(config))


def pair_of(plan: Plan, pair: str | None = None) -> PairSpec:
    """A pair of the configuration; None: its first. Raises UserError for one that it does not define."""
    spec: PairSpec = chosen(plan.pairs, pair or next(iter(plan.pairs)), "pairs")
    return spec


def sampling_jobs(plan: Plan, pair: str | None = None) -> dict[str, SampleJob]:
    """By their number of steps: the two-stage baseline, and the sampler with feedback at every step."""
    spec, four = pair_of(plan, pair), plan.timesteps(4)
    baseline = SampleJob(
        seed=plan.config.seed,
        pair=spec,
        method="bench",
        feedback="two_stage",
        steps=50,
        guidance=spec.guidance,
        checkpoints=plan.config.checkpoints,
    )
    aware = baseline.model_copy(update={"feedback": "aligncvc", "steps": 4, "timesteps": four})
    return {"50": baseline, "4": aware}


def align_job(plan: Plan, pair: str | None = None, run: str = RUN, losses: AlignRun = BOTH) -> AlignJob:
    """Training a pair with any losses, under any name: nothing is kept."""
    return AlignJob(
        seed=plan.config.seed,
        pair=pair_of(plan, pair),
        run=run,
        losses=losses,
        training=Training(**plan.config.align.model_dump(exclude={"runs"})),
        timesteps=plan.timesteps(UNROLLED_STEPS),
        checkpoints=plan.config.checkpoints,
    )


def changed(job: AlignJob, **knobs: object) -> AlignJob:
    """The same job with other knobs of training."""
    return job.model_copy(update={"training": job.training.model_copy(update=knobs)})
