"""The training loop on the real classes at 32 px: gradients, switches, resumption to the bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from tiny_world import align_job

import aligncvc
from aligncvc.align.asd import AsdDraw, asd_gradient
from aligncvc.align.batches import draw_batch, unrolled_steps
from aligncvc.align.train import run_key, train
from aligncvc.align.trainer import Trainer
from aligncvc.config.jobs.align import AlignRun
from aligncvc.errors import UserError
from aligncvc.models.pair import Aligned, load_pair, load_pretrained
from aligncvc.ownership import claim_folder
from aligncvc.scene.renderset import RenderSet


def make(renders: Path, run: str = "both", **settings: Any) -> Trainer:
    return Trainer(align_job(run, **settings), RenderSet(renders, 32), Accelerator(cpu=True))


def loss_gradients(trainer: Trainer) -> tuple[float, float]:
    """Norms of the loss's gradient at the student and at the reconstructor, k = 2."""
    batch = draw_batch(trainer.renders, 0, 0, range(2), "cpu")
    losses, _ = trainer.losses(batch, *trainer.roll_out(batch, 2), 0)
    torch.stack(list(losses.values())).sum().backward()

    def norm(parameters: list[torch.nn.Parameter]) -> float:
        return sum(float(p.grad.square().sum()) for p in parameters if p.grad is not None) ** 0.5

    return norm(list(trainer.lora.values())), norm(list(trainer.recon_parameters.values()))


def test_hard_loss_reaches_student_and_reconstructor_and_nothing_else(renders: Path) -> None:
    trainer = make(renders, "hard")
    student, recon = loss_gradients(trainer)
    assert student > 0 and recon > 0
    trained = {id(p) for p in [*trainer.lora.values(), *trainer.recon_parameters.values()]}
    assert all(p.grad is None for p in trainer.generator.parameters() if id(p) not in trained)
    assert all(p.grad is None for p in trainer.discriminator.parameters())


def test_soft_loss_reaches_the_student_only(renders: Path) -> None:
    student, recon = loss_gradients(make(renders, "soft"))
    assert student > 0 and recon == 0


def test_the_teacher_of_asd_computes_in_float32_under_autocast(renders: Path) -> None:
    trainer = make(renders, "soft")
    batch = draw_batch(trainer.renders, 0, 0, range(2), "cpu")
    condition, latents, _ = trainer.roll_out(batch, 1)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    like = trainer.teacher.schedule.like
    draw = AsdDraw(like(torch.tensor([700, 600])), like(torch.tensor([703, 607])), noise)
    exact, _ = asd_gradient(trainer.teacher, latents, condition, draw, trainer.asd)
    precise = trainer.teacher.predict(noise, draw.t, condition).eps
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = asd_gradient(trainer.teacher, latents, condition, draw, trainer.asd)
        rounded = trainer.teacher.predict(noise, draw.t, condition).eps
    assert found.dtype == torch.float32 and torch.equal(found, exact)
    assert not torch.allclose(rounded, precise, atol=1e-5), "autocast was on around it"


def test_the_alpha_term_is_of_rendered_alpha_and_off_unless_asked(renders: Path) -> None:
    def terms(weight: float) -> dict[str, float]:
        trainer = make(renders, "hard", alpha_weight=weight, novel_views=0)
        batch = draw_batch(trainer.renders, 0, 0, range(2), "cpu")
        condition, latents, look = trainer.roll_out(batch, 1)
        losses, _ = trainer.losses(batch, condition, latents, look, 0)
        if weight:
            expected = (look.drawn.alpha - batch.rgba[:, :, 3:]).square().mean() * weight
            assert float(losses["alpha"]) == pytest.approx(float(expected))
            losses["alpha"].backward()
            gradients = [p.grad for p in trainer.recon_parameters.values() if p.grad is not None]
            assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0
        return {name: float(value) for name, value in losses.items()}

    without, with_it = terms(0.0), terms(2.0)
    assert "alpha" not in without and with_it["alpha"] > 0
    assert with_it["recon"] == pytest.approx(without["recon"])


@pytest.mark.parametrize(
    "gan", [{"all_views": True}, {"sees_input": True}, {"all_views": True, "sees_input": True}]
)
def test_a_step_with_a_discriminator_that_sees_more(renders: Path, gan: dict[str, Any]) -> None:
    trainer = make(renders, "hard", gan=gan | {"r1": 0.1})
    record = trainer.step(0)
    assert record["loss_g"] > 0 and record["loss_d"] > 0 and record["grad_recon"] > 0


def test_official_asd_gives_the_student_no_gradient(renders: Path) -> None:
    student, recon = loss_gradients(make(renders, "soft", asd={"mode": "official"}))
    assert student == 0 and recon == 0


def test_reconstruction_loss_belongs_to_hard_alignment_and_reaches_both(renders: Path) -> None:
    student, recon = loss_gradients(make(renders, "hard", lambda_recon=1.0, lambda_hard=0.0))
    assert student > 0 and recon > 0
    assert loss_gradients(make(renders, "soft", lambda_recon=1.0, lambda_soft=0.0)) == (0, 0)


def test_the_parts_of_hard_alignment_apart(renders: Path) -> None:
    """Each trains both networks by its own loss alone; together they are `hard`."""
    parts = {"gan only": {"recon": False}, "recon only": {"gan": False}, "hard": {}}
    losses = {"gan only": {"loss_g"}, "recon only": {"loss_recon"}, "hard": {"loss_g", "loss_recon"}}
    records = {}
    for name, off in parts.items():
        run = AlignRun(soft=False, **off)
        assert run.alignment == name
        job = make(renders, "hard").job.model_copy(update={"losses": run})
        records[name] = Trainer(job, RenderSet(renders, 32), Accelerator(cpu=True)).step(0)
    found = {name: {k for k in record if k in ("loss_g", "loss_recon")} for name, record in records.items()}
    assert found == losses
    assert all(record["grad_student"] > 0 and record["grad_recon"] > 0 for record in records.values())
    assert "loss_d" not in records["recon only"] and records["gan only"]["loss_d"] > 0


def test_discriminator_step_leaves_the_others_unchanged(renders: Path) -> None:
    trainer = make(renders)
    batch = draw_batch(trainer.renders, 0, 0, range(2), "cpu")
    _, _, look = trainer.roll_out(batch, 1)
    generator = {k: v.clone() for k, v in trainer.generator.state_dict().items()}
    recon = {k: v.clone() for k, v in trainer.reconstructor.state_dict().items()}
    heads = {k: v.clone() for k, v in trainer.discriminator.heads.state_dict().items()}
    record = trainer.discriminator_step(batch, look, 0)
    assert record["loss_d"] > 0 and record["grad_d"] > 0
    assert all(torch.equal(v, generator[k]) for k, v in trainer.generator.state_dict().items())
    assert all(torch.equal(v, recon[k]) for k, v in trainer.reconstructor.state_dict().items())
    assert any(not torch.equal(v, heads[k]) for k, v in trainer.discriminator.heads.state_dict().items())


def test_a_step_changes_the_student_but_never_the_teacher(renders: Path) -> None:
    trainer = make(renders)
    batch = draw_batch(trainer.renders, 0, 0, range(2), "cpu")
    condition = trainer.generator.encode_condition(batch.image, batch.cameras.c2w)
    z = batch.noise(trainer.generator.latent_shape(4), 0, "probe")
    t = torch.tensor([700, 700])

    def outputs() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            student = trainer.generator.predict(z, t, condition).eps
            with trainer.generator.adapters_off():
                return student, trainer.generator.predict(z, t, condition).eps

    student, teacher = outputs()
    torch.testing.assert_close(student, teacher)  # LoRA starts as the identity
    trainer.step(0)
    student_after, teacher_after = outputs()
    assert torch.equal(teacher, teacher_after)
    assert not torch.equal(student, student_after)


def test_batches_depend_on_names_only(renders: Path) -> None:
    one, other = RenderSet(renders, 32), RenderSet(renders, 32)
    draw_batch(other, 0, 7, range(4), "cpu")
    both = draw_batch(one, 0, 3, range(2), "cpu")
    second = draw_batch(other, 0, 3, range(1, 2), "cpu")
    assert torch.equal(both.views[1:], second.views)
    assert torch.equal(both.noise((4, 4, 8, 8), 0, "x")[1:], second.noise((4, 4, 8, 8), 0, "x"))
    assert {unrolled_steps(0, i, 4) for i in range(40)} == {1, 2, 3, 4}
    blocks = [[unrolled_steps(0, i + j, 4, stratified=True) for j in range(4)] for i in range(0, 40, 4)]
    assert all(sorted(block) == [1, 2, 3, 4] for block in blocks) and len(set(map(tuple, blocks))) > 3
    starts = {float(draw_batch(one, 0, i, range(1), "cpu").views.sum()) for i in range(20)}
    assert len(starts) > 3  # input views vary
    azimuth0 = both.cameras.c2w[:, 0, :3, 3]
    assert float(azimuth0[:, 0].abs().max()) < 1e-5 and bool((azimuth0[:, 1] < 0).all())


ALIGN = ("-m", "aligncvc.align")
KILLED_AFTER_STEP_3 = """
import os, runpy, signal
from aligncvc.training import RunState
log = RunState.log
def log_and_die(self, record):
    log(self, record)
    if record["step"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
RunState.log = log_and_die
runpy.run_module("aligncvc.align", run_name="__main__", alter_sys=True)
"""


def start(settings: Path, renders: Path, out: Path, how: tuple[str, str] = ALIGN) -> subprocess.Popen[bytes]:
    command = [sys.executable, *how, "--settings", str(settings)]
    command += ["--renders", str(renders), "--out", str(out), "--code", "f"]
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(aligncvc.__file__).parents[1])}
    return subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | environment)


def metrics(out: Path) -> list[dict[str, float]]:
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert all(record.pop("seconds") > 0 for record in records)
    return records


def test_killed_and_restarted_run_equals_the_straight_one(renders: Path, tmp_path: Path) -> None:
    """SIGKILL after step 3 (the last state is after step 2), restart, compare weights and metrics."""
    config = tmp_path / "job.json"
    align_job().write(config)
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert start(config, renders, straight).wait(300) == 0
    assert start(config, renders, killed, how=("-c", KILLED_AFTER_STEP_3)).wait(300) == -signal.SIGKILL
    assert len((killed / "state" / "metrics.jsonl").read_text().splitlines()) == 3
    assert not (killed / "student.safetensors").exists()
    again = start(config, renders, killed)
    _, errors = again.communicate(timeout=300)
    assert again.returncode == 0, errors.decode()
    assert b"ignored" not in errors
    for name in ("student.safetensors", "recon.safetensors"):
        assert (straight / name).read_bytes() == (killed / name).read_bytes()
        assert (straight / f"{name}.provenance.json").exists()
    assert metrics(straight) == metrics(killed)
    assert [r["step"] for r in metrics(killed)] == list(range(6))
    assert not (killed / "state").exists()


def test_every_state_continues_to_the_same_weights(
    renders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop in the middle of every step in turn, inside the step: the end is always the same."""
    job = align_job(steps=3, save_every=1)
    train(job, renders, tmp_path / "straight")
    wanted = load_file(tmp_path / "straight/student.safetensors")
    whole = Trainer.step
    stops = iter(range(3))
    upcoming = [next(stops)]

    def interrupted(self: Trainer, index: int) -> dict[str, float]:
        record = whole(self, index)
        if upcoming and index == upcoming[0]:
            upcoming[0] = next(stops, -1)
            raise KeyboardInterrupt
        return record

    monkeypatch.setattr(Trainer, "step", interrupted)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            train(job, renders, tmp_path / "stopped")
    train(job, renders, tmp_path / "stopped")
    found = load_file(tmp_path / "stopped/student.safetensors")
    assert all(torch.equal(found[k], wanted[k]) for k in wanted)
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "straight")


def test_state_of_another_configuration_is_ignored_with_a_sentence(
    renders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Trainer.step

    def until_two(self: Trainer, index: int) -> dict[str, float]:
        if index == 2:
            raise KeyboardInterrupt
        return whole(self, index)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "step", until_two)
        train(align_job("soft", steps=3, save_every=1), renders, tmp_path)
    assert (tmp_path / "state/state.pt").exists()
    train(align_job("soft", steps=3, save_every=1, lr_student=3e-4), renders, tmp_path)
    said = " ".join(capsys.readouterr().err.split())
    assert "belongs to another configuration" in said
    assert [r["step"] for r in metrics(tmp_path)] == [0, 1, 2]


def test_a_damaged_state_is_not_fatal(
    renders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").mkdir()
    claim_folder(tmp_path, kept=["state/state.pt"])  # a run began here
    (tmp_path / "state/state.pt").write_bytes(b"not a state")
    train(align_job("soft", steps=1), renders, tmp_path)
    assert "not readable" in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "student.safetensors").exists()


def test_results_load_and_differ_as_the_switches_say(renders: Path, tmp_path: Path) -> None:
    for run, recon_moves in (("soft", False), ("hard", True)):
        job = align_job(run, steps=2, lr_recon=1e-3)
        base = load_pretrained(job.pair).reconstructor
        train(job, renders, tmp_path / run)
        aligned = load_pair(job.pair, aligned=Aligned.in_folder(tmp_path / run))
        generator, recon = aligned.generator, aligned.reconstructor
        assert not any(p.requires_grad for p in [*generator.parameters(), *recon.parameters()])
        same = all(torch.equal(a, b) for a, b in zip(base.parameters(), recon.parameters(), strict=True))
        assert same != recon_moves
        weights = load_file(tmp_path / run / "student.safetensors")
        assert any("lora_B" in k and float(v.abs().sum()) > 0 for k, v in weights.items())


def test_weights_of_another_size_are_refused(renders: Path, tmp_path: Path) -> None:
    job = align_job("soft", steps=1)
    train(job, renders, tmp_path / "soft")
    with pytest.raises(UserError, match=r"student.safetensors does not fit .*lora_A"):
        load_pair(job.pair, aligned=Aligned.in_folder(tmp_path / "soft"), lora_rank=8)
    with pytest.raises(UserError, match=r"hard has no student.safetensors; .*python -m aligncvc.align"):
        Aligned.in_folder(tmp_path / "hard")


def test_unknown_run() -> None:
    with pytest.raises(UserError, match=r"align.runs does not define 'nothing'"):
        align_job("nothing")


def test_what_a_half_finished_run_depends_on(renders: Path) -> None:
    """Settings, timesteps, renders, processes and its own code; not where weights come from."""
    job, images = align_job(), RenderSet(renders, 32)
    key = run_key(job, images, 1, "f")
    assert key == run_key(align_job(), RenderSet(renders, 32), 1, "f")
    elsewhere = job.checkpoints.model_copy(update={"offline": False})
    assert key == run_key(job.model_copy(update={"checkpoints": elsewhere}), images, 1, "f")
    others = [align_job("soft"), align_job(lr_recon=1.0), align_job(generator={"unet": {"heads": 2}})]
    others.append(job.model_copy(update={"timesteps": [999, 749, 599, 300]}))
    others.append(job.model_copy(update={"weights": {"lite0": "0" * 64}}))
    keys = [run_key(other, images, 1, "f") for other in others]
    keys += [run_key(job, images, 2, "f"), run_key(job, images, 1, "g")]
    assert len({key, *keys}) == len(keys) + 1


def test_training_unrolls_at_the_jobs_timesteps(renders: Path) -> None:
    trainer, noised = make(renders, "soft"), []
    real = trainer.generator.schedule.add_noise

    def spy(x0: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        noised.append(int(timesteps[0]))
        return real(x0, noise, timesteps)

    trainer.generator.schedule.add_noise = spy
    trainer.job = trainer.job.model_copy(update={"timesteps": [900, 500, 100]})
    trainer.roll_out(draw_batch(trainer.renders, 0, 0, range(1), "cpu"), 3)
    assert noised == [500, 100]
