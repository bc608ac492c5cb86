"""AlignCVC's released checkpoints (hub LaPetitRose/AlignCVC), as the files of an alignment run.

What the repository holds could not be inspected; this reads the layout that the authors' code implies (github
Liangsanzhu/AlignCVC 7e87282, configs/aligncvc.yaml and scripts/test.sh): in `guidance_ckpt/` the student's
LoRA as peft writes it, keys `base_model.model.<layer>.lora_A.weight`; in `system_ckpt/final.ckpt`, the later
one, a Lightning `state_dict` with the reconstructor under `geometry.gs_network.` and the student under
`guidance.unet.base_model.model.`, each LoRA tensor with its adapter's name (the trained one is called
`lora`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.files import atomic_path
from aligncvc.models.ledger.weights import read_state
from aligncvc.ownership import claim_folder

ADAPTER_FOLDERS = ("guidance_ckpt", "guidance_ckpt/lora", "guidance_ckpt/default", "", "lora")
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")
SYSTEM_FILES = ("system_ckpt/final.ckpt", "final.ckpt", "system_ckpt/last.ckpt")
RECON_PREFIX = "geometry.gs_network."
STUDENT_PREFIX = "guidance.unet."
PEFT_PREFIX = "base_model.model."
TRAINED_ADAPTERS = ("lora", "default")
"""Adapter names in order of trust: the authors load and train `lora`; `default` is peft's first, unused."""

_LORA_KEY = re.compile(r"(?P<layer>.+)\.lora_(?P<side>[AB])(?:\.(?P<adapter>\w+))?\.weight")


def read_adapter(folder: Path) -> tuple[dict[str, Tensor] | None, str]:
    """The student's LoRA from a peft folder, B times its alpha / rank as here; and what was found."""
    for place in ADAPTER_FOLDERS:
        for name in ADAPTER_FILES:
            path = folder / place / name
            if path.is_file():
                state = lora_keys(read_state(path), path)
                factor, said = _scale(path.with_name("adapter_config.json"), state)
                scaled = {key: value * factor if ".lora_B." in key else value for key, value in state.items()}
                return scaled, f"student: {len(state)} LoRA tensors in {path}{said}"
    looked = ", ".join(str(Path(place) / ADAPTER_FILES[0]) for place in ADAPTER_FOLDERS)
    return None, f"student: no peft adapter below {folder} (looked for {looked}, and .bin)"


def _scale(config: Path, state: Mapping[str, Tensor]) -> tuple[float, str]:
    rank = next(value.shape[0] for key, value in state.items() if ".lora_A." in key)
    if not config.is_file():
        return 1.0, "; no adapter_config.json beside it, so alpha is taken to be the rank, as in the code"
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
        stated, alpha = int(content["r"]), float(content["lora_alpha"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{config} is not a peft configuration ({error!r}); fetch it again") from error
    if stated != rank:
        raise UserError(
            f"{config} says rank {stated} and the tensors have {rank}; the files do not belong together"
        )
    return alpha / rank, "" if alpha == rank else f"; scaled by alpha / rank = {alpha:g} / {rank}"


def lora_keys(state: Mapping[str, Tensor], where: object) -> dict[str, Tensor]:
    """LoRA as `<layer>.lora_A.weight`; of several adapters the trained one. UserError if incomplete."""
    found: dict[str | None, dict[str, Tensor]] = {}
    for key, value in state.items():
        match = _LORA_KEY.fullmatch(key.removeprefix(PEFT_PREFIX))
        if match:
            name = f"{match['layer']}.lora_{match['side']}.weight"
            found.setdefault(match["adapter"], {})[name] = value
    if not found:
        raise UserError(f"{where} holds no LoRA tensor; give the student's peft adapter")
    trust = (None, *TRAINED_ADAPTERS)
    chosen = found[min(found, key=lambda name: trust.index(name) if name in trust else len(trust))]
    halves = {key.replace(".lora_A.", ".lora_B.") for key in chosen if ".lora_A." in key}
    odd = halves ^ {key for key in chosen if ".lora_B." in key}
    if odd:
        raise UserError(f"{where}: {min(odd)} has no counterpart; the adapter is incomplete, fetch it again")
    return chosen


def read_system(folder: Path) -> tuple[dict[str, Tensor] | None, dict[str, Tensor] | None, list[str]]:
    """Reconstructor, student and what was found, from the system checkpoint; None for what is not in it."""
    path = next((folder / name for name in SYSTEM_FILES if (folder / name).is_file()), None)
    if path is None:
        return None, None, [f"system: no checkpoint below {folder} (looked for {', '.join(SYSTEM_FILES)})"]
    state = read_state(path)
    inside = (f"{RECON_PREFIX}unet.", f"{RECON_PREFIX}conv.")
    recon = {k.removeprefix(RECON_PREFIX): v for k, v in state.items() if k.startswith(inside)}
    student = {k.removeprefix(STUDENT_PREFIX): v for k, v in state.items() if k.startswith(STUDENT_PREFIX)}
    lora = lora_keys(student, path) if any(_LORA_KEY.fullmatch(key) for key in student) else None
    beginnings = ", ".join(sorted({".".join(key.split(".")[:2]) for key in state})[:8])
    others = sorted({key.split(".")[0] for key in state} - {"geometry", "guidance"})
    said = [
        f"reconstructor: {len(recon)} tensors under {RECON_PREFIX} in {path}"
        if recon
        else f"reconstructor: nothing under {RECON_PREFIX} in {path}; keys begin with {beginnings}",
        f"student: {len(lora)} LoRA tensors under {STUDENT_PREFIX} in {path}"
        if lora
        else f"student: no LoRA under {STUDENT_PREFIX} in {path}",
    ]
    if others:
        said.append(f"left alone in {path}: {', '.join(others)}")
    return recon or None, lora, said


def convert_release(folder: Path, out: Path, force: bool = False) -> list[str]:
    """Write student.safetensors and recon.safetensors of an alignment run; returns what was found or not."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give the one that the hub repository was downloaded to")
    claim_folder(out, ["student.safetensors", "recon.safetensors"], force=force)
    recon, later, said = read_system(folder)
    adapter, line = read_adapter(folder)
    said.append(line)
    student = later or adapter
    if later and adapter:
        said.append("student: taken from the system checkpoint, which was trained on from the adapter")
    if recon is None and student is None:
        raise UserError(f"{folder} holds neither a student nor a reconstructor: {'; '.join(said)}")
    for name, state in (("student", student), ("recon", recon)):
        if state is None:
            said.append(f"not written: {out / name}.safetensors")
            continue
        with atomic_path(out / f"{name}.safetensors") as temporary:
            save_file({key: value.contiguous() for key, value in state.items()}, temporary)
        said.append(f"written: {out / name}.safetensors")
    return said
