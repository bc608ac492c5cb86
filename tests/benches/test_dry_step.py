"""One training step at a configuration's sizes, and its memory by what is trained how."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from aligncvc.bench import training_memory as memory
from aligncvc.bench.dry_step import align_job, changed, dry_step, without_weights
from aligncvc.bench.measure import size_mb
from aligncvc.bench.networks import measure_step
from aligncvc.config.jobs.align import AlignJob
from aligncvc.config.plan import Plan
from aligncvc.errors import UserError
from aligncvc.models.pair import load_pretrained


@pytest.fixture
def job(plan: Plan) -> AlignJob:
    return align_job(plan)


def two_sizes(job: AlignJob, domains: str) -> AlignJob:
    """Views of 32 px beside renderings of 64 px, with normals or without."""
    generator, reconstructor = job.pair.generator, job.pair.reconstructor
    unet = generator.network["unet"] | {"cross_domain": domains == "both"}
    views = generator.network | {"domains": domains, "size_px": 32, "unet": unet}
    models = {
        "generator": generator.model_copy(update={"network": views}),
        "reconstructor": reconstructor.model_copy(
            update={"network": reconstructor.network | {"size_px": 32}}
        ),
    }
    return job.model_copy(update={"pair": job.pair.model_copy(update={**models, "views_px": 32})})


@pytest.mark.parametrize("domains", ["colours", "both"])
def test_dry_step_reports_a_step_of_the_trainer(job: AlignJob, domains: str) -> None:
    small = changed(two_sizes(job, domains), gradient_checkpointing=True)
    facts = dry_step(small if domains == "both" else changed(small, monitor_every=3), k=2)
    record = facts["record"]
    assert record["k"] == 2 and {"loss_soft", "loss_g", "loss_d", "loss_recon"} <= set(record)
    assert not [name for name in record if name.startswith("fd_")]
    assert facts["finite"] and facts["seconds"] > 0 and facts["peak_mb"] > facts["weights_mb"] > 0
    assert (facts["views_px"], facts["renderings_px"], facts["domains"]) == (32, 64, domains)
    assert facts["gradient_checkpointing"] and facts["discriminator"] == "lite0" and facts["run"] == "both"


def test_without_clip_the_bundled_encoder_judges_and_an_unknown_step_is_refused(job: AlignJob) -> None:
    clip = job.training.gan.model_copy(update={"encoder": "clip", "levels": [2]})
    bare = without_weights(changed(job, gan=clip))
    assert bare.training.gan.encoder in ("lite0", "clip")
    assert not bare.pair.generator.weights and bare.checkpoints.offline
    with pytest.raises(UserError, match="unrolls 1 to 4 steps, not 5"):
        dry_step(job, k=5)


def test_a_second_teacher_is_a_second_denoiser_and_changes_no_number(job: AlignJob) -> None:
    ours, plain = (measure_step(job, "float32", plain) for plain in (False, True))
    assert ours["finite"] and plain["finite"] and min(ours["seconds"], ours["peak_mb"]) > 0
    denoiser = size_mb([load_pretrained(job.pair.without_weights()).generator.denoiser])
    assert plain["weights_mb"] - ours["weights_mb"] == pytest.approx(denoiser, abs=0.2)
    shared, copied = (dry_step(job, teacher_copy=copy)["record"] for copy in (False, True))
    assert shared["loss_soft"] == copied["loss_soft"] > 0


def test_memory_is_measured_apart_and_written_as_a_table(
    smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "VARIANTS", ("reconstructor", "both"))
    memory.command(tmp_path / "memory.csv", config=smoke)
    with (tmp_path / "memory.csv").open() as handle:
        rows = {row["variant"]: row for row in csv.DictReader(handle)}
    assert list(rows) == ["reconstructor", "both"]
    assert list(rows["both"]) == ["variant", "peak_mb", "weights_mb", "hardware"]
    weights, peaks = ({n: float(row[k]) for n, row in rows.items()} for k in ("weights_mb", "peak_mb"))
    assert weights["reconstructor"] < weights["both"] and peaks["both"] > peaks["reconstructor"] > 0
    assert peaks["both"] > weights["both"]
