"""The jobs that benches run: a configuration's first pair, whatever methods and runs there are."""

from __future__ import annotations

from aligncvc.config.jobs.align import AlignJob, AlignRun
from aligncvc.config.jobs.sample import SampleJob
from aligncvc.config.plan import Plan
from aligncvc.config.root import Method

BOTH = AlignRun()
"""Soft and hard alignment, the paper's run."""


def sampling_jobs(plan: Plan) -> dict[str, SampleJob]:
    """By their number of steps: the two-stage baseline, and the sampler with feedback at every step."""
    methods = Method(feedback="two_stage", steps=50), Method(feedback="aligncvc", steps=4)
    spec = next(iter(plan.pairs.values()))
    return {str(method.steps): plan.sampling(spec, "bench", method) for method in methods}


def align_job(plan: Plan, run: str = "both", losses: AlignRun = BOTH) -> AlignJob:
    """A training run with any losses and name; nothing of it is kept."""
    return plan.training(next(iter(plan.pairs.values())), run, losses)


def changed(job: AlignJob, **knobs: object) -> AlignJob:
    """The same job with other knobs of training."""
    return job.model_copy(update={"training": job.training.model_copy(update=knobs)})
