"""From a configuration to the job of tables, figures and report: its rows, and the facts of its pairs."""

from __future__ import annotations

from aligncvc.config.jobs.paper import PairFacts, PaperJob, Row
from aligncvc.config.jobs.sample import CONTROL
from aligncvc.config.plan import Plan, weights_of
from aligncvc.loop.feedback import find_feedback
from aligncvc.models.ledger.ledger import Ledger
from aligncvc.models.specs import PairSpec


def paper_job(plan: Plan) -> PaperJob:
    """Tables, figures, report."""
    config = plan.config
    lists = {config.object_set(name).list for name in config.objects.sets if not plan.is_sharded(name)}
    return PaperJob(
        seed=config.seed,
        pairs=[_facts(pair, plan.ledger) for pair in plan.pairs.values()],
        rows=[_row(plan, pair, method) for pair, method in plan.methods()],
        controls=[f"{CONTROL}:{name}" for name in config.evaluate.controls],
        curves=config.evaluate.curves,
        protocol=plan.protocol,
        paper=config.paper,
        object_lists=sorted(name for name in lists if name is not None),
    )


def _row(plan: Plan, pair: str, name: str) -> Row:
    job, method = plan.sample(pair, name), plan.config.sample.methods[name]
    run = None if job.run is None else plan.config.align.runs[job.run]
    return Row(
        **job.model_dump(include={"method", "feedback", "steps", "guidance", "run"}),
        pair=pair,
        kept=find_feedback(job.feedback).kept(job.steps),
        alignment="none" if run is None else run.alignment,
        trained=job.run is not None and job.aligned is None,
        tables=method.tables,
    )


def _facts(pair: PairSpec, ledger: Ledger) -> PairFacts:
    used = weights_of(pair)
    return PairFacts(
        name=pair.name,
        generator=pair.generator.id or pair.generator.kind,
        reconstructor=pair.reconstructor.id or pair.reconstructor.kind,
        views=len(pair.rig.azimuths_deg),
        views_px=pair.views_px,
        renderings_px=pair.renderings_px,
        demo=bool(used) and all(ledger.entry(name).kind == "file" for name in used),
    )
