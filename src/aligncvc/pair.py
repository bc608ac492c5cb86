"""A generator and a reconstructor, ready to use: pretrained, or aligned by a run.

Base weights come from the checkpoint ledger (a null id means random weights from the configuration's
seed). A run adds `student.safetensors`, the LoRA on the generator's denoiser, and `recon.safetensors`,
the whole reconstructor. Everything loads strictly: a key or a shape that differs is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors.torch import save_file
from torch import Tensor, nn

from aligncvc.checkpoints import load_checkpoint, load_strict, read_safetensors, resolve, settled
from aligncvc.config import Config
from aligncvc.errors import UserError
from aligncvc.files import atomic_path
from aligncvc.mvg import MultiViewGenerator, build_generator
from aligncvc.recon import build_reconstructor
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
    """Write tensors to a safetensors file atomically; facts go into its header as JSON.

    They are one entry, because safetensors writes several in an order that changes from run to run.
    """
    tensors = {k: v.detach().to("cpu").contiguous() for k, v in state.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"facts": json.dumps(facts, sort_keys=True)})


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


def base_ids(config: Config) -> dict[str, str]:
    """Ledger ids of the pretrained weights by part; parts with a null id are left out."""
    ids = {
        "unet": config.mvg.weights,
        "vae": config.mvg.vae_weights,
        "image_encoder": config.mvg.image_encoder_weights,
        "recon": config.recon.weights,
    }
    return {part: name for part, name in ids.items() if name is not None}


def base_weights(config: Config) -> dict[str, Path]:
    """Local files of the pretrained weights by part."""
    return {
        part: resolve(
            name,
            ledger=config.checkpoints.ledger,
            offline=config.checkpoints.offline,
            accept_licences=tuple(config.checkpoints.accept_licences),
        )
        for part, name in base_ids(config).items()
    }


def load_pretrained(config: Config) -> tuple[MultiViewGenerator, nn.Module]:
    """The configured generator and reconstructor before alignment, on CPU, in evaluation mode.

    What the weights need beyond their names is settled here (`checkpoints.quirks`).
    """
    config = settled(config)
    generator = seeded(lambda: build_generator(config.mvg, config.render.size_px), config.seed, "mvg", "init")
    reconstructor = seeded(lambda: build_reconstructor(config.recon), config.seed, "recon", "init")
    modules = {
        "unet": generator.unet,
        "vae": getattr(generator, "vae", None),
        "image_encoder": getattr(getattr(generator, "image_encoder", None), "tower", None),
        "recon": reconstructor,
    }
    for part, name in base_ids(config).items():
        module = modules[part]
        if not isinstance(module, nn.Module):
            raise UserError(
                f"mvg.kind {config.mvg.kind!r} has no separate {part}; set its weights id to null"
            )
        load_checkpoint(
            module,
            name,
            ledger=config.checkpoints.ledger,
            offline=config.checkpoints.offline,
            accept_licences=tuple(config.checkpoints.accept_licences),
        )
    return generator.eval(), reconstructor.eval()


def load_pair(
    config: Config, run: str | None = None, align_dir: Path | str = "results/align"
) -> tuple[MultiViewGenerator, nn.Module]:
    """The pair for sampling: pretrained (run None) or with the weights of `<align_dir>/<run>/`.

    Raises UserError if the run's files are missing or do not fit the configuration.
    """
    generator, reconstructor = load_pretrained(config)
    if run is not None:
        folder = Path(align_dir) / run
        for name in (STUDENT_FILE, RECON_FILE):
            if not (folder / name).exists():
                raise UserError(f"{folder} has no {name}; run python -m aligncvc.align --run {run} first")
        load_lora(generator, folder / STUDENT_FILE, config.align.lora_rank)
        load_strict(reconstructor, folder / RECON_FILE)
    generator.requires_grad_(False)
    reconstructor.requires_grad_(False)
    return generator.eval(), reconstructor.eval()
