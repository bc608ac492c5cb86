"""A generator and a reconstructor, ready to use: pretrained, or aligned by a run.

Parts without weights in the ledger keep random ones. A run adds LoRA on the denoiser and the reconstructor.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import nn

from aligncvc.errors import UserError
from aligncvc.models.generators.base import STUDENT, MultiViewGenerator
from aligncvc.models.kinds import kind_module
from aligncvc.models.ledger.resolve import resolve
from aligncvc.models.ledger.weights import check_network, check_same, load_weights, read_safetensors
from aligncvc.models.specs import CheckpointAccess, ModelSpec, PairSpec
from aligncvc.streams import seeded

STUDENT_FILE, RECON_FILE = "student.safetensors", "recon.safetensors"


@dataclass(frozen=True)
class Aligned:
    """Files of an alignment run's result; ids of the ledger for those that ship with the repository."""

    student: Path | str
    recon: Path | str

    @classmethod
    def in_folder(cls, folder: Path) -> Self:
        for name in (STUDENT_FILE, RECON_FILE):
            if not (folder / name).exists():
                raise UserError(f"{folder} has no {name}; train the run with python -m aligncvc.align first")
        return cls(folder / STUDENT_FILE, folder / RECON_FILE)


@dataclass(frozen=True)
class PairOfModels:
    """Both networks in evaluation mode, on the CPU until `to`."""

    spec: PairSpec
    generator: MultiViewGenerator
    reconstructor: nn.Module

    def to(self, device: torch.device | str) -> Self:
        self.generator.to(device)
        self.reconstructor.to(device)
        return self


def build_generator(
    spec: ModelSpec, size_px: int, access: CheckpointAccess = CheckpointAccess()
) -> MultiViewGenerator:
    """With random weights from torch's present random state; size_px: of views if its settings name none."""
    return kind_module("generators", spec.kind, "network").build(spec.network, size_px, access)


def build_reconstructor(spec: ModelSpec) -> nn.Module:
    """A reconstructor with random weights."""
    return kind_module("reconstructors", spec.kind, "network").build(spec.network)


def load_generator(spec: ModelSpec, size_px: int, seed: int, access: CheckpointAccess) -> MultiViewGenerator:
    """A generator with the weights that its entry names, frozen. size_px: of renderings."""
    generator = seeded(lambda: build_generator(spec, size_px, access), seed, "mvg", "init")
    _load_parts(generator.parts(), spec, access)
    return generator.requires_grad_(False).eval()


def load_reconstructor(
    spec: ModelSpec, seed: int, access: CheckpointAccess = CheckpointAccess()
) -> nn.Module:
    """A reconstructor with the weights that its entry names, frozen."""
    reconstructor = seeded(lambda: build_reconstructor(spec), seed, "recon", "init")
    _load_parts({"recon": reconstructor}, spec, access)
    return reconstructor.requires_grad_(False).eval()


def load_pretrained(spec: PairSpec, access: CheckpointAccess = CheckpointAccess()) -> PairOfModels:
    """Both networks of a pair before alignment, frozen. Raises UserError if weights are missing or wrong."""
    generator = load_generator(spec.generator, spec.renderings_px, spec.seed, access)
    return PairOfModels(spec, generator, load_reconstructor(spec.reconstructor, spec.seed, access))


def load_pair(
    spec: PairSpec,
    access: CheckpointAccess = CheckpointAccess(),
    aligned: Aligned | None = None,
    lora_rank: int = 4,
) -> PairOfModels:
    """The pair for sampling, frozen: pretrained (aligned None), or aligned by a run. UserError as above."""
    if aligned is None:
        return load_pretrained(spec, access)
    generator = load_generator(spec.generator, spec.renderings_px, spec.seed, access)
    student = aligned.student if isinstance(aligned.student, Path) else resolve(aligned.student, access)
    check_network(student, spec.generator)
    load_lora(generator, student, lora_rank)
    reconstructor = build_reconstructor(spec.reconstructor)
    load_weights(reconstructor, aligned.recon, spec.reconstructor, access)
    generator.requires_grad_(False)
    return PairOfModels(spec, generator.eval(), reconstructor.requires_grad_(False).eval())


def _load_parts(parts: Mapping[str, nn.Module], spec: ModelSpec, access: CheckpointAccess) -> None:
    for part, checkpoint_id in spec.weights.items():
        if part not in parts:
            raise UserError(
                f"{spec.id or spec.kind} has weights for a part {part!r}; its parts are {', '.join(parts)}"
            )
        load_weights(parts[part], checkpoint_id, spec, access)


def attach_lora(
    generator: MultiViewGenerator, rank: int, root_seed: int, adapter: str = STUDENT
) -> dict[str, nn.Parameter]:
    """Put fresh LoRA (B = 0) on the frozen denoiser (`adapters_off`: the teacher); its parameters by name.

    adapter: another one's name, after the student's: it lies beside that and is in use where
    `MultiViewGenerator.adapter` says so.
    """
    from peft import LoraConfig, inject_adapter_in_model  # seconds to load, and only LoRA needs it

    generator.requires_grad_(False)
    lora = LoraConfig(
        r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=list(generator.lora_targets)
    )
    stream = ("lora", "init") if adapter == STUDENT else ("lora", adapter, "init")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # a second one is meant
        seeded(lambda: inject_adapter_in_model(lora, generator.denoiser, adapter), root_seed, *stream)
    generator.use_adapter(STUDENT)
    return lora_parameters(generator, adapter)


def lora_parameters(generator: MultiViewGenerator, adapter: str = STUDENT) -> dict[str, nn.Parameter]:
    """An adapter's parameters by their name in files (the adapter's own name is left out, as in peft)."""
    return {
        name.replace(f".{adapter}.", "."): parameter
        for name, parameter in generator.denoiser.named_parameters()
        if ".lora_" in name and f".{adapter}." in name
    }


def load_lora(generator: MultiViewGenerator, path: Path, rank: int) -> None:
    """Add LoRA of a rank to a generator and fill it from an alignment run's file, strictly."""
    state = read_safetensors(path)
    parameters = attach_lora(generator, rank, 0)
    check_same(state, parameters, path)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(state[name])
