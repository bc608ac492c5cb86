"""The one training loop of pretraining: AdamW, warm-up, plateau and cosine, EMA, resumable, logged.

The rate stays at its peak until DECAY_FROM of the steps, so that a run may be made longer while it still is
on the plateau and end exactly as if it had been asked for the longer run at once.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from rich.progress import Progress
from torch import Tensor, nn

from aligncvc.config import Training
from aligncvc.files import atomic_path, sha256_json
from aligncvc.pair import write_weights

WARMUP_STEPS = 100
DECAY_FROM = 0.5
"""Share of the steps after which the learning rate falls."""

Loss = Callable[[int], dict[str, Tensor]]
Score = Callable[[], dict[str, float]]


@dataclass(frozen=True)
class Run:
    """Where a training run keeps its state and its curve."""

    name: str
    settings: Training
    state_path: Path
    log_path: Path
    fingerprint: str

    @property
    def steps(self) -> int:
        return self.settings.steps

    @staticmethod
    def of(name: str, settings: Training, out: Path, facts: object) -> Run:
        """facts: whatever else decides the result (networks, data); a state of other facts is not resumed."""
        kept = settings.model_dump(exclude={"steps", "save_every"})
        return Run(name, settings, state_path(out, name), curve_path(out), sha256_json([name, kept, facts]))


def state_path(out: Path, name: str) -> Path:
    """Where the state of a network's training lies, given its weights' file."""
    return out.parent / "state" / f"{name}.pt"


def curve_path(out: Path) -> Path:
    """Where the curve of a training lies, given its weights' file."""
    return out.with_suffix(".jsonl")


def decay_progress(step: int, steps: int) -> float:
    """0 on the plateau, then linearly to 1 at the last step."""
    return max(0.0, (step / steps - DECAY_FROM) / (1 - DECAY_FROM))


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up, plateau, then a cosine to 2 % of the peak."""
    warm = min(WARMUP_STEPS, max(1, steps // 10))
    if step < warm:
        return peak * (step + 1) / warm
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * decay_progress(step, steps))))


def fit(run: Run, module: nn.Module, loss: Loss, score: Score) -> nn.Module:
    """Train `module` for run.steps steps and return it holding the EMA weights.

    loss(step) draws its own batch from a stream named by the step and returns named terms, of which
    "total" is minimised: so a run that was killed goes on exactly where its last state was. score()
    is evaluated with the EMA weights whenever a state is written.
    """
    config = run.settings
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=config.lr, betas=(0.9, 0.99), weight_decay=1e-4)
    ema = EMAModel(parameters, decay=config.ema_decay)
    start = _restore(run, module, optimiser, ema)
    began = time.perf_counter()
    with Progress() as bar:
        task = bar.add_task(run.name, total=run.steps, completed=start)
        for step in range(start, run.steps):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, run.steps, config.lr)
            terms = loss(step)
            optimiser.zero_grad(set_to_none=True)
            terms["total"].backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            ema.step(parameters)
            line = {"step": step, "seconds": round(time.perf_counter() - began, 2)}
            line |= {k: float(v.detach()) for k, v in terms.items()}
            last = step + 1 == run.steps
            if last or (step + 1) % config.save_every == 0:
                ema.store(parameters)
                ema.copy_to(parameters)
                line |= score()
                ema.restore(parameters)
                _append(run.log_path, line)
                _save(run, step + 1, module, optimiser, ema)
                print(json.dumps(line), flush=True)
            elif step % 10 == 0:
                _append(run.log_path, line)
            bar.update(task, advance=1, description=f"{run.name} {line['total']:.4f}")
    ema.copy_to(parameters)
    return module


def _append(path: Path, line: dict[str, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(line) + "\n")


def _save(run: Run, step: int, module: nn.Module, optimiser: torch.optim.Optimizer, ema: EMAModel) -> None:
    state = {
        "fingerprint": run.fingerprint,
        "step": step,
        "steps": run.steps,
        "module": module.state_dict(),
        "optimiser": optimiser.state_dict(),
        "ema": ema.state_dict(),
    }
    with atomic_path(run.state_path) as temporary:
        torch.save(state, temporary)


def _restore(run: Run, module: nn.Module, optimiser: torch.optim.Optimizer, ema: EMAModel) -> int:
    """Load the state of the same run, if there is one; returns the step to go on from."""
    if not run.state_path.exists():
        run.log_path.unlink(missing_ok=True)
        return 0
    state = torch.load(run.state_path, weights_only=True)
    shorter = min(state["steps"], run.steps)
    replanned = state["steps"] != run.steps and decay_progress(state["step"] - 1, shorter) > 0
    if state["fingerprint"] != run.fingerprint or replanned:
        why = "its rate fell for another length" if replanned else "it belongs to other settings"
        print(f"{run.state_path} is not resumed ({why}); starting afresh", flush=True)
        run.log_path.unlink(missing_ok=True)
        return 0
    module.load_state_dict(state["module"])
    optimiser.load_state_dict(state["optimiser"])
    ema.load_state_dict(state["ema"])
    _forget_after(run.log_path, state["step"])
    return int(state["step"])


def _forget_after(path: Path, step: int) -> None:
    """Drop logged lines that the resumed run will write again."""
    if path.exists():
        lines = [line for line in path.read_text().splitlines() if json.loads(line)["step"] < step]
        path.write_text("".join(line + "\n" for line in lines))


def write_half(path: Path, module: nn.Module, **facts: object) -> None:
    """Write weights in float16: half the size in the repository, and far finer than training noise."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in module.state_dict().items()}
    write_weights(path, state, **facts)
