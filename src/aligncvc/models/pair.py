"""A generator and a reconstructor, ready to use: pretrained, or aligned by a run.

Base weights come from the checkpoint ledger (a null id means random weights from the configuration's
seed). An alignment run adds the LoRA on the generator's denoiser and the whole reconstructor, from its
folder (`student.safetensors`, `recon.safetensors`) or, if it ships with the repository, from the ledger.
Everything loads strictly: a key or a shape that differs is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor, nn

from aligncvc.config.sections import Config
from aligncvc.errors import UserError
from aligncvc.models.generators import MultiViewGenerator, build_generator
from aligncvc.models.ledger import (
    check_settings,
    load_checkpoint,
    load_strict,
    read_safetensors,
    resolve,
    settled,
    write_facts,
)
from aligncvc.models.ledger.facts import Part
from aligncvc.models.reconstructors import build_reconstructor
from aligncvc.streams import seeded

LORA_TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
STUDENT_FILE, RECON_FILE = "student.safetensors", "recon.safetensors"


def check_same(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: object) -> None:
    """Raise UserError naming the first differences unless keys and shapes are equal."""
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    odd = [
        f"{k} {tuple(found[k].shape)} instead of {tuple(wanted[k].shape)}"
        for k in sorted(wanted.keys() & found.keys())
        if found[k].shape != wanted[k].shape
    ]
    for what, names in (("it lacks", missing), ("it has unknown", extra), ("it has shape", odd)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise UserError(
                f"{where} does not fit the configured network: {what} {', '.join(names[:3])}{more}; "
                "use the configuration that the weights were made with"
            )


def write_weights(path: Path, state: Mapping[str, Tensor], **facts: object) -> None:
    """Write tensors to a safetensors file atomically; facts go into its header as JSON."""
    write_facts(path, state, facts)


def attach_lora(generator: MultiViewGenerator, rank: int, root_seed: int) -> dict[str, nn.Parameter]:
    """Put fresh LoRA (the identity: B = 0) on the denoiser; return its parameters by name.

    The base network is frozen, so `generator.adapters_off()` is the teacher and costs no second copy.
    """
    generator.requires_grad_(False)
    lora = LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=LORA_TARGETS)
    seeded(lambda: generator.unet.add_adapter(lora), root_seed, "lora", "init")  # type: ignore[operator]
    return lora_parameters(generator)


def lora_parameters(generator: MultiViewGenerator) -> dict[str, nn.Parameter]:
    """The adapter's parameters by their name in files (the adapter's own name is left out, as in peft)."""
    return {
        name.replace(".default.", "."): parameter
        for name, parameter in generator.unet.named_parameters()
        if ".lora_" in name
    }


def load_lora(generator: MultiViewGenerator, path: Path, rank: int) -> None:
    """Attach the LoRA of a file that an alignment run wrote."""
    state = read_safetensors(path)
    parameters = attach_lora(generator, rank, 0)
    check_same(state, parameters, path)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(state[name])


def from_ledger(config: Config, name: str) -> Path:
    """Local, verified file of a ledger id, by the configuration's ledger and terms."""
    return resolve(
        name,
        ledger=config.checkpoints.ledger,
        offline=config.checkpoints.offline,
        accept_licences=tuple(config.checkpoints.accept_licences),
    )


def base_ids(config: Config) -> dict[Part, str]:
    """Ledger ids of the pretrained weights by part; parts with a null id are left out."""
    ids: dict[Part, str | None] = {
        "unet": config.mvg.weights,
        "vae": config.mvg.vae_weights,
        "image_encoder": config.mvg.image_encoder_weights,
        "recon": config.recon.weights,
    }
    return {part: name for part, name in ids.items() if name is not None}


def base_weights(config: Config) -> dict[Part, Path]:
    """Local files of the pretrained weights by part."""
    return {part: from_ledger(config, name) for part, name in base_ids(config).items()}


def load_base(module: nn.Module, config: Config, part: Part) -> None:
    """Load the pretrained weights of a part into its network, which `config` (settled) has built.

    Raises UserError if the file says that it was made with other settings, or does not fit.
    """
    name = base_ids(config)[part]
    check_settings(from_ledger(config, name), config, part)
    load_checkpoint(
        module,
        name,
        ledger=config.checkpoints.ledger,
        offline=config.checkpoints.offline,
        accept_licences=tuple(config.checkpoints.accept_licences),
    )


def run_weights(config: Config, run: str, align_dir: Path | str) -> tuple[Path, Path]:
    """(student, reconstructor) files of an alignment run: the ledger's if it has `weights`, else trained.

    Raises UserError for a run that is not defined and for files that are missing or not what they should be.
    """
    if run not in config.align.runs:
        raise UserError(f"align.runs does not define {run!r}; choose one of {sorted(config.align.runs)}")
    bundled = config.align.runs[run].weights
    if bundled is not None:
        return from_ledger(config, bundled.student), from_ledger(config, bundled.recon)
    folder = Path(align_dir) / run
    for name in (STUDENT_FILE, RECON_FILE):
        if not (folder / name).exists():
            raise UserError(f"{folder} has no {name}; run python -m aligncvc.align --run {run} first")
    return folder / STUDENT_FILE, folder / RECON_FILE


def load_pretrained(config: Config) -> tuple[MultiViewGenerator, nn.Module]:
    """The configured generator and reconstructor before alignment, on CPU, in evaluation mode.

    What the weights need beyond their names is settled here (`checkpoints.quirks`).
    """
    config = settled(config)
    generator = seeded(lambda: build_generator(config.mvg, config.render.size_px), config.seed, "mvg", "init")
    reconstructor = seeded(lambda: build_reconstructor(config.recon), config.seed, "recon", "init")
    modules: dict[Part, Any] = {
        "unet": generator.unet,
        "vae": getattr(generator, "vae", None),
        "image_encoder": getattr(getattr(generator, "image_encoder", None), "tower", None),
        "recon": reconstructor,
    }
    for part in base_ids(config):
        module = modules[part]
        if not isinstance(module, nn.Module):
            raise UserError(
                f"mvg.kind {config.mvg.kind!r} has no separate {part}; set its weights id to null"
            )
        load_base(module, config, part)
    return generator.eval(), reconstructor.eval()


def load_pair(
    config: Config, run: str | None = None, align_dir: Path | str = "results/align"
) -> tuple[MultiViewGenerator, nn.Module]:
    """The pair for sampling: pretrained (run None), or aligned by a run.

    A run's weights are those of `<align_dir>/<run>/`, or bundled ones if the run names ledger ids.
    Raises UserError if the run's files are missing or do not fit the configuration.
    """
    files = None if run is None else run_weights(config, run, align_dir)
    bundled = None if run is None else config.align.runs[run].weights
    if bundled is not None:  # what counts is what this reconstructor needs, not the one it was trained from
        recon = config.recon.model_copy(update={"weights": bundled.recon})
        config = config.model_copy(update={"recon": recon})
    config = settled(config)
    generator, reconstructor = load_pretrained(config)
    if files is not None:
        student, trained = files
        check_settings(student, config, "student")
        load_lora(generator, student, config.align.lora_rank)
        if bundled is None:
            check_settings(trained, config, "recon")
            load_strict(reconstructor, trained)
    generator.requires_grad_(False)
    reconstructor.requires_grad_(False)
    return generator.eval(), reconstructor.eval()
