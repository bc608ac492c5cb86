"""One alignment run from renders to weights: start or continue, log, save, publish."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from aligncvc.align.launch import accelerator_for, followed
from aligncvc.align.sharing import Sharing
from aligncvc.align.trainer import Trainer
from aligncvc.config.jobs.align import AlignJob
from aligncvc.files import PROVENANCE, sha256_json, write_provenance, write_text
from aligncvc.models.ledger.weights import NETWORK, network_facts, write_facts
from aligncvc.models.pair import RECON_FILE, STUDENT_FILE
from aligncvc.ownership import claim_folder
from aligncvc.scene.renderset import RenderSet
from aligncvc.training import STATE_FILES, RunState

Weights = dict[str, Tensor]


def run_key(
    job: AlignJob,
    renders: RenderSet,
    processes: int,
    code: str,
    precision: str = "no",
    sharing: Sharing | None = None,
) -> str:
    """A hash of all that a run's weights depend on. Not where weight files come from: their bytes count.

    precision: of the accelerator. The settings may leave it to the launcher. sharing: the launcher's too; it
    rounds otherwise.
    """
    settings = job.model_dump(mode="json", exclude={"checkpoints": True, **job.aside})
    rounding = [precision] if sharing is None else [precision, "shared"]
    return sha256_json([settings, renders.key, processes, code, *rounding])


def train(
    job: AlignJob, manifest: Path, out: Path, code: str = "", force: bool = False, readers: int = 0
) -> None:
    """Run (or continue) one alignment run of this code; write weights, metrics, provenance.

    readers: processes that read batches ahead.
    """
    accelerator = accelerator_for(job.training, out)
    main = accelerator.is_main_process  # the one that writes
    if main:
        weights = [f"{name}{end}" for name in (STUDENT_FILE, RECON_FILE) for end in ("", PROVENANCE)]
        kept = [f"state/{name}" for name in STATE_FILES]
        claim_folder(out, ["metrics.jsonl", *weights], kept=kept, force=force)
    renders = RenderSet(manifest, job.pair.renderings_px, job.pair.rig)
    trainer = Trainer(job, renders, accelerator, readers)
    precision = accelerator.mixed_precision
    key = run_key(job, renders, accelerator.num_processes, code, precision, trainer.sharing)
    state = RunState(out / "state", key, trainer.parts, writes=main)
    console = Console(stderr=True)
    start, remark = state.restore()
    if trainer.sharing is not None and main:
        several = f"{accelerator.num_processes} processes"
        console.print(f"{several} share {trainer.shared_part:.1%} of the networks", highlight=False)
    if remark and main:
        console.print(remark, highlight=False)
    accelerator.wait_for_everyone()
    steps = trainer.steps
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, disable=not (main and console.is_terminal))
    with bar as progress, followed(accelerator, job, out, start) as follow:
        task = progress.add_task(f"align {job.run}", total=steps, completed=start)
        for index in range(start, steps):
            record = trainer.step(index) | trainer.monitored(index)
            done = index + 1
            state.log(record)
            follow(record)
            progress.update(task, completed=done, description=describe(job, record))
            if done % job.training.save_every == 0 or done == steps:
                state.save(done)
                if main and not console.is_terminal:
                    console.print(f"{done}/{steps} {describe(job, record)}", highlight=False)
    results = trainer.results()
    if main:
        publish(trainer, results, state, out)
    accelerator.wait_for_everyone()


def describe(job: AlignJob, record: dict[str, float]) -> str:
    """A line for the log: what the losses and the residual are after a step."""
    losses = " ".join(f"{k[5:]} {v:.3g}" for k, v in record.items() if k.startswith("loss_"))
    name = f"align {job.pair.name} {job.run}"
    return f"{name} k={record['k']} {losses} residual {record['residual_psnr']:.1f} dB"


def publish(trainer: Trainer, results: tuple[Weights, Weights], state: RunState, out: Path) -> None:
    """Write the results, each complete or absent, then remove the state."""
    job, (student, recon) = trainer.job, results
    inputs = {"renders": trainer.renders.key, "run": state.key_at(0)}
    inputs |= {name: str(sha256) for name, sha256 in job.weights.items()}
    write_text(out / "metrics.jsonl", state.metrics.read_text(encoding="utf-8"))
    pair = (STUDENT_FILE, student, job.pair.generator), (RECON_FILE, recon, job.pair.reconstructor)
    for name, weights, spec in pair:
        facts = {"pair": job.pair.name, "run": job.run, "lora_rank": job.training.lora_rank}
        write_facts(out / name, weights, {**facts, NETWORK: network_facts(spec)})
        whose = {"pair": job.pair.name, "run": job.run, "steps": trainer.steps}
        whose["precision"] = trainer.accelerator.mixed_precision
        write_provenance(
            out / name, inputs=inputs, config=job.model_dump(mode="json"), seed=job.seed, **whose
        )
    state.discard()
