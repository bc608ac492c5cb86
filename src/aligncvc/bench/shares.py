"""`python -m aligncvc.bench.shares`: what one of several processes holds in training, counted, not measured.

The networks are built on the meta device, without memory for their weights. Counted are weights, gradients,
Adam's two averages and the EMA. Activations are not: they need a run (`aligncvc.bench.dry_step`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
import yaml
from torch import nn

from aligncvc.align.discriminator import Discriminator
from aligncvc.align.sharing import units
from aligncvc.config.jobs.align import AlignJob
from aligncvc.config.option import Changes
from aligncvc.config.plan import CLIP_HEADS, Plan, chosen
from aligncvc.errors import cli
from aligncvc.files import PROJECT_ROOT
from aligncvc.models.encoders.clip import ClipImageEncoder, ClipLevels
from aligncvc.models.encoders.frozen import LevelEncoder
from aligncvc.models.encoders.lite0 import Lite0
from aligncvc.models.encoders.lpips import random_lpips
from aligncvc.models.ledger.ledger import load_ledger
from aligncvc.models.pair import attach_lora, build_generator, build_reconstructor

FSDP = PROJECT_ROOT / "profiles/accelerate/fsdp.yaml"
FLOAT32, TRAINED_TIMES = 4, 5
"""Bytes a number; numbers a trained parameter: itself, its gradient, Adam's two averages, the EMA."""
HEAD_TIMES = 4
"""The same for the discriminator's heads, which have no EMA."""


@dataclass(frozen=True)
class Held:
    """Parameters of a run. shared: by all processes; whole: in each; trained and frozen alike.

    frozen: of the generator. lora, recon: trained. encoders: frozen, of the losses. heads: the
    discriminator's. unit: of the largest unit, which is whole while it computes.
    """

    frozen_shared: int
    frozen_whole: int
    lora_shared: int
    lora_whole: int
    recon_shared: int
    recon_whole: int
    encoders: int
    heads: int
    unit: int

    @property
    def rows(self) -> dict[str, tuple[int, int]]:
        """Bytes by what they are for: (shared by all processes, whole in each)."""
        numbers = {
            "generator, frozen": (self.frozen_shared, self.frozen_whole),
            "LoRA": (TRAINED_TIMES * self.lora_shared, TRAINED_TIMES * self.lora_whole),
            "reconstructor": (TRAINED_TIMES * self.recon_shared, TRAINED_TIMES * self.recon_whole),
            "encoders of the losses": (0, self.encoders),
            "discriminator's heads": (0, HEAD_TIMES * self.heads),
        }
        return {name: (FLOAT32 * a, FLOAT32 * b) for name, (a, b) in numbers.items()}

    def bytes_each(self, processes: int) -> int:
        """Bytes that a process holds between steps; 1: nothing is shared."""
        return sum(shared // processes + whole for shared, whole in self.rows.values())

    @property
    def bytes_of_unit(self) -> int:
        """Bytes that the largest unit adds for a moment: its weights, and their gradient if it is trained."""
        return 2 * FLOAT32 * self.unit


def counted(parameters: Iterable[nn.Parameter]) -> int:
    """How many numbers parameters hold; no weights are needed."""
    return sum(parameter.numel() for parameter in parameters)


def held(job: AlignJob, least: int) -> Held:
    """Count a run's parameters. least: of the smallest unit that is shared (fsdp_min_num_params)."""
    spec, training = job.pair.without_weights(), job.training
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # frozen encoders load weights that nothing can hold here
        generator = build_generator(spec.generator, spec.renderings_px, job.checkpoints)
        lora = {id(p) for p in attach_lora(generator, training.lora_rank, job.seed).values()}
        reconstructor = build_reconstructor(spec.reconstructor)
        heads = encoders = 0
        if job.losses.adversarial:
            judge = _discriminator(job)
            heads, encoders = counted(judge.heads.parameters()), counted(judge.encoder.parameters())
        if job.losses.compared_with_truth and training.lambda_recon > 0:
            encoders += counted(random_lpips("alex").parameters())
    of_generator = [unit for part in generator.parts().values() for unit in units(part, least)]
    of_recon = units(reconstructor, least)
    frozen, own = _split(generator, of_generator, lora)
    recon_shared = counted(p for unit in of_recon for p in unit.parameters())
    return Held(
        *frozen,
        *own,
        recon_shared,
        counted(reconstructor.parameters()) - recon_shared,
        encoders,
        heads,
        max((counted(unit.parameters()) for unit in (*of_generator, *of_recon)), default=0),
    )


def _split(
    network: nn.Module, shared: Sequence[nn.Module], trained: set[int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(shared, whole) counts of the frozen parameters and of the trained ones."""
    inside = {id(p) for unit in shared for p in unit.parameters()}
    counts = {(is_trained, is_shared): 0 for is_trained in (False, True) for is_shared in (False, True)}
    for parameter in network.parameters():
        counts[id(parameter) in trained, id(parameter) in inside] += parameter.numel()
    return (counts[False, True], counts[False, False]), (counts[True, True], counts[True, False])


def _discriminator(job: AlignJob) -> Discriminator:
    gan = job.training.gan
    encoder: LevelEncoder = Lite0()
    if gan.encoder == "clip":
        network = load_ledger(job.checkpoints.ledger).entry(CLIP_HEADS).network or {}
        encoder = ClipLevels(ClipImageEncoder(**{k: v for k, v in network.items() if k != "kind"}))
    together = len(job.pair.rig.azimuths_deg) if gan.all_views else 1
    return Discriminator(
        encoder, gan.hidden, job.seed, levels=gan.levels, together=together, sees_input=gan.sees_input
    )


def least_of(profile: Path = FSDP) -> int:
    """fsdp_min_num_params of a launcher's configuration."""
    return int(yaml.safe_load(profile.read_text(encoding="utf-8"))["fsdp_config"]["fsdp_min_num_params"])


def gb(size: int) -> str:
    """Bytes as GB of 10^9 bytes, with two digits."""
    return f"{size / 1e9:.2f}"


def table(job: AlignJob, processes: Sequence[int], least: int) -> list[str]:
    """Lines of a Markdown table, GB a process."""
    found = held(job, least)
    columns = [1, *processes]
    lines = [f"| {job.pair.name} | not shared | " + " | ".join(f"{n} processes" for n in processes) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for name, (shared, whole) in found.rows.items():
        lines.append(f"| {name} | " + " | ".join(gb(shared // n + whole) for n in columns) + " |")
    lines.append("| together | " + " | ".join(gb(found.bytes_each(n)) for n in columns) + " |")
    moment = ["0.00", *[gb(found.bytes_of_unit)] * len(processes)]
    return [*lines, "| the largest unit, for a moment | " + " | ".join(moment) + " |"]


def command(
    config: Path = Path("config/paper.yaml"),
    changes: Changes = (),
    pair: str | None = None,
    run: str = "both",
    processes: tuple[int, ...] = (2, 4, 8),
    least: int | None = None,
) -> None:
    """Print what a process holds in training, GB, as a Markdown table.

    Args:
        config: configuration file.
        pair: a key of pairs; the first if left out.
        run: alignment run whose losses are computed.
        processes: numbers of processes.
        least: parameters of the smallest unit; profiles/accelerate/fsdp.yaml's if left out.
    """
    plan = Plan.read(config, changes)
    spec = chosen(plan.pairs, pair, "pairs") if pair else next(iter(plan.pairs.values()))
    job = plan.training(spec, run, chosen(plan.config.align.runs, run, "align.runs"))
    print("\n".join(table(job, processes, least_of() if least is None else least)))


def main() -> None:
    tyro.cli(command)


if __name__ == "__main__":
    cli(main)
