"""The jobs that benches run: a configuration's first pair, whatever methods and runs there are."""

from __future__ import annotations

from pathlib import Path

from aligncvc.config.alignment import AlignRun, Training
from aligncvc.config.jobs.align import AlignJob
from aligncvc.config.jobs.sample import SampleJob
from aligncvc.config.plan import UNROLLED_STEPS, Plan
from aligncvc.config.root import load_config

BOTH = AlignRun()
"""Soft and hard alignment, the paper's run."""


def plan_of(config: Path | None) -> Plan:
    """The jobs of a configuration file; None: config/config.yaml."""
    return Plan(load_config(config))


def sampling_jobs(plan: Plan) -> dict[str, SampleJob]:
    """By their number of steps: the two-stage baseline, and the sampler with feedback at every step."""
    spec = next(iter(plan.pairs.values()))
    baseline = SampleJob(
        seed=plan.config.seed,
        pair=spec,
        method="bench",
        feedback="two_stage",
        steps=50,
        guidance=spec.guidance,
        checkpoints=plan.config.checkpoints,
    )
    aware = {"feedback": "aligncvc", "steps": 4, "timesteps": plan.timesteps(4)}
    return {"50": baseline, "4": baseline.model_copy(update=aware)}


def align_job(plan: Plan, run: str = "both", losses: AlignRun = BOTH) -> AlignJob:
    """A training run with any losses and name; nothing of it is kept."""
    return AlignJob(
        seed=plan.config.seed,
        pair=next(iter(plan.pairs.values())),
        run=run,
        losses=losses,
        training=Training(**plan.config.align.model_dump(exclude={"runs"})),
        timesteps=plan.timesteps(UNROLLED_STEPS),
        checkpoints=plan.config.checkpoints,
    )


def changed(job: AlignJob, **knobs: object) -> AlignJob:
    """The same job with other knobs of training."""
    return job.model_copy(update={"training": job.training.model_copy(update=knobs)})
