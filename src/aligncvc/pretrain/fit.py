"""The one training loop of pretraining: AdamW, warm-up, plateau and cosine, EMA, resumable, logged."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from rich.progress import Progress
from torch import Tensor, nn

from aligncvc.config.jobs.pretrain import VAE, PretrainJob
from aligncvc.errors import UserError
from aligncvc.files import sha256_json
from aligncvc.metrics.psnr import foreground_psnr, psnr
from aligncvc.models.generators.base import MultiViewGenerator
from aligncvc.models.ledger.weights import (
    NETWORK,
    load_weights,
    network_facts,
    resolved_state,
    write_facts,
)
from aligncvc.models.pair import build_generator
from aligncvc.models.specs import ModelSpec
from aligncvc.streams import seeded
from aligncvc.training import STATE_FILES, Ema, RunState, decay_progress, learning_rate

Loss = Callable[[int], dict[str, Tensor]]
Score = Callable[[], dict[str, float]]


def run_key(job: PretrainJob, inputs: object) -> Callable[[int], str]:
    """A hash of what a run depends on after so many steps: of its length only once the rate has fallen."""
    length = job.training.steps
    kept = job.model_dump(mode="json", exclude={"checkpoints": True, "training": {"steps", "save_every"}})
    return lambda done: sha256_json([kept, inputs, length if decay_progress(done - 1, length) > 0 else None])


def run_files(out: Path, name: str) -> tuple[Path, Path]:
    """The curve and the resumable state of a network's training."""
    return out.with_suffix(".jsonl"), out.parent / "state" / name / STATE_FILES[0]


def fit(job: PretrainJob, module: nn.Module, out: Path, inputs: object, loss: Loss, score: Score) -> None:
    """Train `module` and leave it holding the averaged weights; a killed run goes on from its last state.

    Args:
        job: settings of the run.
        module: the network; its parameters that ask for gradients are trained.
        out: the weights' file: state and curve go beside it.
        inputs: as for `run_key`.
        loss: draws its own batch from a stream named by the step; its term "total" is minimised.
        score: evaluated with the averaged weights whenever a state is written.
    """
    training, name = job.training, job.name
    parameters = {n: p for n, p in module.named_parameters() if p.requires_grad}
    optimiser = torch.optim.AdamW(parameters.values(), lr=training.lr, betas=(0.9, 0.99), weight_decay=1e-4)
    ema = Ema(parameters, training.ema_decay, from_first=True)
    parts = {"module": module, "optimiser": optimiser, "ema": ema}
    curve, saved = run_files(out, name)
    state = RunState(saved.parent, run_key(job, inputs), parts, curve)
    start, remark = state.restore()
    if remark:
        print(remark, flush=True)
    began = time.perf_counter()
    with Progress() as bar:
        task = bar.add_task(name, total=training.steps, completed=start)
        for step in range(start, training.steps):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, training.steps, training.lr)
            terms = loss(step)
            optimiser.zero_grad(set_to_none=True)
            terms["total"].backward()
            nn.utils.clip_grad_norm_(parameters.values(), 1.0)
            optimiser.step()
            ema.update()
            line = {"step": step, "seconds": round(time.perf_counter() - began, 2)}
            line |= {k: float(v.detach()) for k, v in terms.items()}
            done = step + 1
            if done == training.steps or done % training.save_every == 0:
                with ema.applied():
                    line |= score()
                state.log(line)
                state.save(done)
                print(json.dumps(line), flush=True)
            elif step % 10 == 0:
                state.log(line)
            bar.update(task, advance=1, description=f"{name} {line['total']:.4f}")
    ema.apply()


def generator_with(
    spec: ModelSpec, job: PretrainJob, given: Mapping[str, Path], name: str
) -> MultiViewGenerator:
    """A generator whose parts have the files given, else the ledger's weights that `spec` names.

    name: of the stream that random weights come from.
    """
    generator = seeded(lambda: build_generator(spec, job.size_px, job.checkpoints), job.seed, name)
    files: dict[str, Path | str] = {**spec.weights, **given}
    for part, weights in files.items():
        load_weights(generator.parts()[part], weights, spec, job.checkpoints)
    return generator


def begin_with(module: nn.Module, job: PretrainJob) -> str | None:
    """Take the tensors of `job.start_from` that have a namesake of the same shape; how many, in words."""
    if job.start_from is None:
        return None
    given, wanted = resolved_state(job.start_from, job.checkpoints), module.state_dict()
    alike = {k: v for k, v in given.items() if k in wanted and v.shape == wanted[k].shape}
    if not alike:
        raise UserError(
            f"{job.start_from} shares no tensor with {job.name}; name other weights in pretrain.start_from"
        )
    module.load_state_dict(wanted | alike)
    return f"{len(alike)} of {len(wanted)} tensors are those of {job.start_from}"


def psnr_scores(name: str, images: Tensor, reference: Tensor, alpha: Tensor) -> dict[str, float]:
    """Mean PSNR and foreground PSNR of images (..., 3, H, W); alpha (..., 1, H, W): the reference's."""
    return {
        f"{name}_psnr": float(psnr(images, reference).mean()),
        f"{name}_fg_psnr": float(foreground_psnr(images, reference, alpha).mean()),
    }


def write_half(job: PretrainJob, path: Path, module: nn.Module, scores: dict[str, float]) -> None:
    """Write weights in float16: half the size in the repository, and far finer than training noise."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in module.state_dict().items()}
    facts = network_facts(job.model)
    made_for = {VAE: facts[VAE]} if job.part == VAE else facts  # all generators of the same latents share it
    about: dict[str, object] = {
        NETWORK: made_for,
        "network": type(module).__name__,
        "steps": job.training.steps,
    }
    if job.start_from:
        about["start_from"] = job.start_from
    write_facts(path, state, {**about, **scores})
