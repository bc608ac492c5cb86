"""What a weight file says about itself, and settings of its network that no tensor's shape shows.

The facts are one JSON entry of a safetensors header. `settings` among them holds the keys of the
configuration that change what a network computes but not the shape of its weights (numbers of attention
heads and of norm groups, the kind of prediction, the meaning of camera labels, the world of Gaussians): with
other values the weights load and compute nonsense. Files without the entry, such as those of other projects,
are taken as they are; what those need stands in the ledger (`quirks`).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from aligncvc.config.sections import Config
from aligncvc.errors import UserError
from aligncvc.files import atomic_path
from aligncvc.models.ledger.strict import read_safetensors

Part = Literal["vae", "unet", "image_encoder", "recon", "student"]
SETTINGS = "settings"
LATER: dict[str, Any] = {
    "mvg.unet.heads": None,
    "mvg.domains": "colours",
    "mvg.colours_alone": "self",
    "mvg.camera_type": "perspective",
    "mvg.camera_table": "computed",
    "recon.rot_norm_dim": -1,
    "recon.world": "ours",
    "recon.radius": None,
    "recon.ray_fov_y_deg": "cameras",
    "recon.projection_fov_y_deg": None,
}
"""Keys that settings did not have from the start, with the values that hold for files that lack them."""
_LIMIT = 100_000_000
"""Bytes of a header, as in the format's own reader."""


def network_settings(config: Config, part: Part) -> dict[str, Any]:
    """Keys and values of the configuration that the shapes of a part's weights do not show.

    The student's are those of the denoiser that its LoRA sits on. Nulls that quirks decide must be settled
    before (`quirks.settled`); those that remain count as the default that the network takes.
    """
    mvg, vae, unet, recon = config.mvg, config.mvg.vae, config.mvg.unet, config.recon
    if part == "vae":
        return {"mvg.vae.norm_groups": vae.norm_groups, "mvg.vae.scaling_factor": vae.scaling_factor}
    if part == "image_encoder":
        return {"mvg.clip.num_attention_heads": mvg.clip.num_attention_heads}
    if part == "recon":
        return {
            "recon.heads": recon.heads,
            "recon.head": recon.head,
            "recon.rot_norm_dim": recon.rot_norm_dim or LATER["recon.rot_norm_dim"],
            "recon.world": recon.world or LATER["recon.world"],
            "recon.radius": recon.radius,
            "recon.ray_fov_y_deg": recon.ray_fov_y_deg or LATER["recon.ray_fov_y_deg"],
            "recon.projection_fov_y_deg": recon.projection_fov_y_deg,
        }
    return {
        "mvg.unet.head_channels": unet.head_channels,
        "mvg.unet.norm_groups": unet.norm_groups,
        "mvg.unet.prediction": unet.prediction,
        "mvg.unet.heads": unet.heads,
        "mvg.domains": mvg.domains,
        "mvg.colours_alone": mvg.colours_alone,
        "mvg.camera_type": mvg.camera_type or LATER["mvg.camera_type"],
        "mvg.camera_table": mvg.camera_table or LATER["mvg.camera_table"],
    }


def read_facts(path: Path | str) -> dict[str, Any]:
    """The facts in a safetensors header; empty for a file without them and for other formats."""
    try:
        with Path(path).open("rb") as handle:
            (size,) = struct.unpack("<Q", handle.read(8))
            header = json.loads(handle.read(size)) if size < _LIMIT else {}
        facts = json.loads(header.get("__metadata__", {}).get("facts", "{}"))
    except (OSError, struct.error, ValueError, AttributeError, TypeError):
        return {}  # whoever reads the tensors says what is wrong with the file
    return facts if isinstance(facts, dict) else {}


def write_facts(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, object]) -> None:
    """Write tensors to a safetensors file atomically; facts go into its header as one JSON entry.

    One, because safetensors writes several in an order that changes from run to run.
    """
    from safetensors.torch import save_file

    own = {k: v.detach().to("cpu").contiguous() for k, v in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(own, temporary, metadata={"facts": json.dumps(facts, sort_keys=True)})


def check_settings(path: Path | str, config: Config, part: Part) -> None:
    """Raise UserError if a file says that its network was built with other settings than `config`'s."""
    recorded = read_facts(path).get(SETTINGS, {})
    recorded = {**LATER, **recorded} if recorded else {}
    for key, value in network_settings(config, part).items():
        if key in recorded and recorded[key] != value:
            raise UserError(
                f"{path} was made with {key} {recorded[key]} and the configuration says {value}; use the "
                "configuration that the weights were made with"
            )


def stamp(path: Path, config: Config, part: Part, *, half: bool = False) -> dict[str, Any]:
    """Add the settings to the facts of an existing safetensors file, in place; returns all its facts.

    half: also store floating-point tensors in float16. The file's sha256 changes: record it anew. Raises
    UserError for a file that is not safetensors or that states other settings.
    """
    tensors = read_safetensors(path)
    check_settings(path, config, part)
    if half:
        tensors = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
    facts = read_facts(path) | {SETTINGS: network_settings(config, part)}
    write_facts(path, tensors, facts)
    return facts
