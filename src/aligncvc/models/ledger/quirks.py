"""The registry of quirks: what a checkpoint needs beyond its key names, applied here and nowhere else.

The data stands beside each ledger entry (config/checkpoints.yaml). `settled` turns it into configuration:
keys that the user left null get what the weights need, keys that the user set stay as they are, and what
cannot be chosen (the background, the timesteps of a distilled network) is checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from aligncvc.config.sections import Config
from aligncvc.errors import UserError

BACKGROUND = 1.0
"""What views and renderings are composited on in every stage: white."""


class Quirks(BaseModel):
    """What a checkpoint needs. Null: nothing that differs from the defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # recon: keys of the configuration's section of the same name
    rot_norm_dim: Literal[-1, 1] | None = None
    world: Literal["ours", "y-up", "first-camera"] | None = None
    radius: float | None = Field(None, gt=0)
    ray_fov_y_deg: float | Literal["cameras"] | None = None
    projection_fov_y_deg: float | Literal["cameras"] | None = None

    # mvg: keys of the configuration's section of the same name
    camera_type: Literal["orthographic", "perspective"] | None = None
    camera_table: Literal["computed", "wonder3d-v1", "wonder3d-plus", "aligncvc"] | None = None

    # checked
    camera_dim: int | None = None
    background: float | None = Field(None, ge=0, le=1)
    timesteps: list[int] | None = None

    # read where the file is read
    prefix: str = ""
    """Only keys that start with it are meant, and it is cut off."""
    constants: list[str] = Field(default_factory=list)
    """Last parts of key names that hold no weights: constants that older libraries stored."""
    renames: Mapping[str, str] = Field(default_factory=dict)
    """Old part of a key name -> new one, whole parts between dots."""
    vision: Mapping[str, Any] = Field(default_factory=dict)
    """What differs from ViT-B/32 in transformers' CLIPVisionConfig."""

    def given(self) -> dict[str, Any]:
        """The quirks that are set, by name."""
        return {key: value for key, value in self.model_dump().items() if value not in (None, {}, [], "")}


RECON = ("rot_norm_dim", "world", "radius", "ray_fov_y_deg", "projection_fov_y_deg")
MVG = ("camera_type", "camera_table")


def settled(config: Config, sections: Sequence[Literal["recon", "mvg"]] = ("recon", "mvg")) -> Config:
    """The configuration with every null that the weights named in these sections decide filled in.

    Raises UserError if the ledger has no such entry, or if weights need what this configuration excludes.
    """
    from aligncvc.models.ledger.ledger import load_ledger

    changes: dict[str, Any] = {}
    for section in sections:
        chosen, names = getattr(config, section), RECON if section == "recon" else MVG
        if chosen.weights is None:
            continue
        quirks = load_ledger(config.checkpoints.ledger).entry(chosen.weights).quirks
        _check(config, chosen.weights, quirks)
        needed = {
            name: getattr(quirks, name)
            for name in names
            if getattr(chosen, name) is None and getattr(quirks, name) is not None
        }
        if needed:
            changes[section] = chosen.model_copy(update=needed)
    return config.model_copy(update=changes) if changes else config


def _check(config: Config, checkpoint_id: str, quirks: Quirks) -> None:
    if quirks.background is not None and quirks.background != BACKGROUND:
        raise UserError(
            f"checkpoint {checkpoint_id} was trained on a background of grey {quirks.background:g} and every "
            "stage here draws on white; choose other weights, or train these on white"
        )
    if quirks.camera_dim not in (None, config.mvg.camera_dim):
        raise UserError(
            f"checkpoint {checkpoint_id} takes a camera vector of {quirks.camera_dim} numbers and "
            f"mvg.camera_dim is {config.mvg.camera_dim}; choose the mvg.kind that belongs to the weights"
        )
    listed = quirks.timesteps and config.sample.timesteps.get(len(quirks.timesteps))
    if quirks.timesteps and listed != quirks.timesteps:
        raise UserError(
            f"checkpoint {checkpoint_id} was trained at the timesteps {quirks.timesteps} and "
            f"sample.timesteps.{len(quirks.timesteps)} is {listed}; set it to the former"
        )
