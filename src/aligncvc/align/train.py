"""One alignment run from renders to weights: start or continue, log, save, publish."""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from aligncvc.align.state import RunState
from aligncvc.align.trainer import UNROLLED_STEPS, Trainer
from aligncvc.config.sections import Config
from aligncvc.files import sha256_file, sha256_json, write_provenance, write_text
from aligncvc.loop.rollout import timesteps_for
from aligncvc.models.ledger import network_settings, settled
from aligncvc.models.ledger.facts import Part
from aligncvc.models.pair import RECON_FILE, STUDENT_FILE, base_weights, write_weights
from aligncvc.scene.renderset import RenderSet
from aligncvc.workflow.fingerprint import code_hash


def run_key(config: Config, run_name: str, renders: RenderSet, processes: int) -> str:
    """A hash of everything that a run's weights depend on."""
    relevant = config.model_dump(include={"seed", "render", "mvg", "recon", "align"}, mode="json")
    relevant["align"]["runs"] = relevant["align"]["runs"][run_name]
    weights = {part: sha256_file(path) for part, path in base_weights(config).items()}
    return sha256_json(
        [
            relevant,
            timesteps_for(UNROLLED_STEPS, config),
            run_name,
            renders.key,
            weights,
            processes,
            code_hash("aligncvc.align"),
        ]
    )


def train(config: Config, run_name: str, manifest: Path, out: Path) -> None:
    """Run (or continue) one alignment run and write its weights, metrics and provenance into `out`."""
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(), mixed_precision="bf16" if config.align.bf16 else None
    )
    renders = RenderSet(manifest, config.render.size_px)
    trainer = Trainer(config, run_name, renders, accelerator)
    key = run_key(config, run_name, renders, accelerator.num_processes)
    state = RunState(out / "state", key, trainer.parts)
    console = Console(stderr=True)
    start, remark = state.restore()
    if remark:
        console.print(remark, highlight=False)
    accelerator.wait_for_everyone()
    steps = trainer.steps
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    main = accelerator.is_main_process
    with Progress(*columns, console=console, disable=not (main and console.is_terminal)) as progress:
        task = progress.add_task(f"align {run_name}", total=steps, completed=start)
        for index in range(start, steps):
            record = trainer.step(index) | trainer.monitored(index)
            done = index + 1
            if main:
                state.log(record)
            progress.update(task, completed=done, description=describe(run_name, record))
            if main and (done % config.align.save_every == 0 or done == steps):
                state.save(done)
                if not console.is_terminal:
                    console.print(f"{done}/{steps} {describe(run_name, record)}", highlight=False)
    accelerator.wait_for_everyone()
    if main:
        publish(trainer, state, run_name, renders, out)


def describe(run_name: str, record: dict[str, float]) -> str:
    """The progress line: name, unrolled steps, losses, residual."""
    losses = " ".join(f"{k[5:]} {v:.3g}" for k, v in record.items() if k.startswith("loss_"))
    return f"align {run_name} k={record['k']} {losses} residual {record['residual_psnr']:.1f} dB"


def publish(trainer: Trainer, state: RunState, run_name: str, renders: RenderSet, out: Path) -> None:
    """Write the results, each complete or absent, then remove the state."""
    config, built = trainer.config, settled(trainer.config)
    inputs = {"renders": renders.key, "run": state.key}
    inputs |= {part: sha256_file(path) for part, path in base_weights(config).items()}
    write_text(out / "metrics.jsonl", state.metrics.read_text(encoding="utf-8"))
    parts: tuple[tuple[Part, str], ...] = (("student", STUDENT_FILE), ("recon", RECON_FILE))
    for (part, name), weights in zip(parts, trainer.results(), strict=True):
        facts = {"run": run_name, "lora_rank": config.align.lora_rank}
        write_weights(out / name, weights, **facts, settings=network_settings(built, part))
        write_provenance(
            out / name,
            inputs=inputs,
            config=config.model_dump(mode="json"),
            seed=config.seed,
            run=run_name,
            steps=trainer.steps,
        )
    state.discard()
