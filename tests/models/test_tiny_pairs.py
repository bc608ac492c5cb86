"""Every kind of generator and reconstructor in a pair, at its tiny size: a step of post-training."""

from __future__ import annotations

import pytest
from tiny_networks import GENERATORS, RECONSTRUCTORS, SIZE_PX, tiny_spec

from aligncvc.bench.dry_step import align_job, changed, dry_step
from aligncvc.config.plan import Plan
from aligncvc.files import PROJECT_ROOT


@pytest.mark.parametrize(
    ("generator", "reconstructor"),
    [
        *((kind, "lgm") for kind in GENERATORS),
        *(("wonder3d", kind) for kind in RECONSTRUCTORS if kind != "lgm"),
    ],
)
def test_a_step_of_post_training_reaches_both_networks(generator: str, reconstructor: str) -> None:
    job = changed(align_job(Plan.read(PROJECT_ROOT / "config/smoke.yaml")), gradient_checkpointing=True)
    pair = job.pair.model_copy(
        update={
            "generator": tiny_spec("generators", generator),
            "reconstructor": tiny_spec("reconstructors", reconstructor),
            "views_px": SIZE_PX,
            "renderings_px": SIZE_PX,
        }
    )
    facts = dry_step(job.model_copy(update={"pair": pair}), k=2)
    record = facts["record"]
    assert facts["finite"] and {"loss_soft", "loss_g", "loss_d", "loss_recon"} <= set(record)
    assert record["grad_student"] > 0 and record["grad_recon"] > 0 and record["loss_soft"] > 0
