"""Kinds of alignment runs: the foil, the control of the released code, runs that ship with their weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from accelerate import Accelerator
from aligncvc.workflow.plan import Plan
from safetensors.torch import load_file
from tiny_world import tiny_config, tiny_settings

from aligncvc.align.batches import draw_batch
from aligncvc.align.train import train
from aligncvc.align.trainer import Trainer
from aligncvc.config.sections import Config, parse_config
from aligncvc.errors import UserError
from aligncvc.files import sha256_file
from aligncvc.loop.aligncvc import Sampled, sample_aligncvc
from aligncvc.loop.cost import Stopwatch
from aligncvc.models.pair import load_pair
from aligncvc.scene.renderset import RenderSet

TRAINED = Config().align.model_dump()["runs"]
"""What the default methods sample with."""
FOIL = {"soft": False, "hard": False, "regression": True}
RELEASED = {"soft": True, "hard": False, "asd_mode": "official"}


def configuration(**align: object) -> Config:
    return tiny_config(runs={**TRAINED, "foil": FOIL, "released": RELEASED}, **align)


def metrics(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def sampled(config: Config, run: str | None, align_dir: Path, renders: Path) -> Sampled:
    generator, reconstructor = load_pair(config, run, align_dir)
    images, cameras = RenderSet(renders, 32).load("a").rig_from(0)
    return sample_aligncvc(
        generator, reconstructor, images[0], cameras, [999, 599], 1.3, 0, "a", Stopwatch("cpu")
    )


def test_regression_has_only_losses_to_ground_truth_of_views_and_renderings(renders: Path) -> None:
    trainer = Trainer(configuration(lambda_recon=2.0), "foil", RenderSet(renders, 32), Accelerator(cpu=True))
    assert trainer.discriminator is None
    batch = draw_batch(trainer.renders, 0, 0, range(2), "cpu")
    result, condition = trainer.roll_out(batch, 2)
    losses, facts = trainer.losses(batch, result, condition, 0)
    assert losses.keys() == {"recon", "views"} and facts == {}
    error = (result.views - batch.views).square().mean()
    assert float(losses["views"].detach()) > 2 * float(error.detach())  # and LPIPS on top
    recon = list(trainer.recon_parameters.values())
    student = list(trainer.lora.values())
    of_views = torch.autograd.grad(losses["views"], [*student, *recon], retain_graph=True, allow_unused=True)
    assert any(g is not None and float(g.abs().sum()) > 0 for g in of_views[: len(student)])
    assert all(g is None for g in of_views[len(student) :])
    of_renderings = torch.autograd.grad(losses["recon"], [*student, *recon])
    for gradients in (of_renderings[: len(student)], of_renderings[len(student) :]):
        assert any(float(g.abs().sum()) > 0 for g in gradients)


def test_asd_as_released_leaves_sampling_as_it_was_to_the_bit(renders: Path, tmp_path: Path) -> None:
    """The control: dt = 0 and guidance on both terms is no alignment, whatever the rate."""
    config = configuration(steps=3, lr_student=0.1, lambda_soft=10.0)
    for run in ("released", "soft"):
        train(config, run, renders, tmp_path / run)
    assert all(r["grad_student"] == 0 for r in metrics(tmp_path / "released"))
    weights = load_file(tmp_path / "released/student.safetensors")
    assert all(float(v.abs().max()) == 0 for k, v in weights.items() if "lora_B" in k)
    plain, control, moved = (sampled(config, run, tmp_path, renders) for run in (None, "released", "soft"))
    assert torch.equal(plain.views, control.views) and torch.equal(plain.renderings, control.renderings)
    assert not torch.equal(plain.views, moved.views)


def test_a_run_may_have_its_own_number_of_steps(renders: Path, tmp_path: Path) -> None:
    config = tiny_config(steps=1, runs={**TRAINED, "longer": {"steps": 3, **FOIL}})
    train(config, "longer", renders, tmp_path / "longer")
    assert len(metrics(tmp_path / "longer")) == 3
    facts = json.loads((tmp_path / "longer/student.safetensors.provenance.json").read_text())
    assert facts["steps"] == 3 and facts["run"] == "longer"


def write_ledger(path: Path, folder: Path, **changes: str) -> str:
    entries = {
        f"my-{part}": {
            "what": f"a {part} of this test",
            "source": f"file:{folder / part}.safetensors",
            "sha256": sha256_file(folder / f"{part}.safetensors"),
            "licence": "Apache-2.0",
            **changes,
        }
        for part in ("student", "recon")
    }
    path.write_text(yaml.safe_dump({"version": 1, "checkpoints": entries}))
    return str(path)


READY = {**TRAINED, "ready": {"hard": False, "weights": {"student": "my-student", "recon": "my-recon"}}}


def test_bundled_weights_come_from_the_ledger_and_are_checked(renders: Path, tmp_path: Path) -> None:
    config = tiny_config(steps=2, runs=READY)
    train(config, "soft", renders, tmp_path / "soft")

    def with_ledger(name: str, **changes: str) -> Config:
        ledger = write_ledger(tmp_path / name, tmp_path / "soft", **changes)
        return config.model_copy(
            update={"checkpoints": config.checkpoints.model_copy(update={"ledger": ledger})}
        )

    trained, _ = load_pair(config, "soft", tmp_path)
    bundled, _ = load_pair(with_ledger("ledger.yaml"), "ready", tmp_path / "nowhere")
    pairs = zip(trained.unet.parameters(), bundled.unet.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    with pytest.raises(UserError, match="is not checkpoint my-student: expected sha256 0000"):
        load_pair(with_ledger("wrong.yaml", sha256="0" * 64), "ready", tmp_path)


def test_bundled_run_is_not_trained_and_says_which_run_repeats_it(renders: Path) -> None:
    with pytest.raises(UserError, match=r"ship with the repository \(my-student, my-recon\).*train run soft"):
        Trainer(tiny_config(runs=READY), "ready", RenderSet(renders, 32), Accelerator(cpu=True))


def test_tables_call_each_kind_of_run_by_its_name() -> None:
    runs = configuration().align.runs
    names = ("soft", "hard", "both", "foil", "released")
    assert [runs[n].alignment for n in names] == ["soft", "hard", "both", "regression", "official"]


class Method:
    """Wildcards of the rule that samples."""

    def __init__(self, method: str) -> None:
        self.method = method


def test_plan_neither_trains_nor_awaits_bundled_runs_and_verifies_their_weights() -> None:
    weights = {"student": "my-student", "recon": "my-recon"}
    data = {
        "align": {"runs": {"both": {}, "soft": {"hard": False}, "ready": {"weights": weights}}},
        "sample": {"methods": {"a": {"run": "both"}, "b": {"run": "ready"}, "c": {}}},
    }
    plan = Plan(data, "test")
    assert plan.runs == ["both"]
    assert plan.aligned(Method("a")) == [f"results/align/both/{p}.safetensors" for p in ("student", "recon")]
    assert plan.aligned(Method("b")) == plan.aligned(Method("c")) == []
    assert {"my-student", "my-recon"} <= set(plan.weights)
    unused = Plan({**data, "sample": {"methods": {"a": {"run": "both"}}}}, "test")
    assert "my-student" not in unused.weights


def test_results_say_what_their_shapes_do_not(renders: Path, tmp_path: Path) -> None:
    """Another number of attention heads has the same shapes and computes something else."""
    train(configuration(steps=1), "soft", renders, tmp_path / "soft")
    for section, key in ((("mvg", "unet"), "head_channels"), (("recon",), "heads")):
        data = tiny_settings(steps=1)
        inner = data
        for name in section:
            inner = inner[name]
        inner[key] = 4
        with pytest.raises(UserError, match=rf"{key} \d+ and the configuration says 4"):
            load_pair(parse_config(data, "other"), "soft", tmp_path)
