"""The cases in which LGM's other forms are compared with official code, and what ours yields in them."""

from __future__ import annotations

from typing import Any

import torch
from lgm_cases import REDUCED, activated
from parity_tools import fill, numbers
from torch import Tensor, nn

from aligncvc.models.reconstructors.base import At
from aligncvc.models.reconstructors.lgm.layouts import gen3diffusion
from aligncvc.models.reconstructors.lgm.network import LGM
from aligncvc.models.reconstructors.lgm.settings import PRESETS, Settings
from aligncvc.scene.cameras import Cameras, orbit
from aligncvc.scene.renderset import batched

FORMS = ("gen3diffusion", "ouroboros3d", "videomv")
CHANNELS = {"gen3diffusion": 12, "ouroboros3d": 9, "videomv": 9}
ROWS = {"gen3diffusion": 5, "ouroboros3d": 4, "videomv": 4}
"""Views that the network itself sees of an object: Gen-3Diffusion's last one is the input image."""
TIMES = {"gen3diffusion": [[581.0] * 4 + [0.0], [21.0] * 4 + [0.0]], "ouroboros3d": [[0.7] * 4] * 2}
"""Of each row of two objects; the official Ouroboros3D is told one time for a whole batch."""
INPUT_PX, IMAGE_PX = 16, 24
"""Side that a network's views are resized to where its input is compared, and of the images before that."""


def official_name(form: str, name: str) -> str:
    """Our name of the reference's parameter `name`."""
    return next(iter(gen3diffusion({name: torch.empty(0)}))) if form == "gen3diffusion" else name


def our_form(form: str, sizes: dict[str, Any] | None = None, **changes: object) -> LGM:
    """Our network of a form, filled by formula; sizes: None for the published one."""
    model = LGM(Settings.model_validate({**PRESETS[form], **(sizes or {}), **changes})).eval()
    fill(model)
    return model


def reduced(form: str) -> LGM:
    """With the timestep's own sizes as published: the reduced ones keep the first width."""
    return our_form(form, REDUCED)


def rows(form: str, side: int, batch: int) -> Tensor:
    """(B, V', C, H, W) numbers in the place of normalised colours and rays."""
    return numbers(f"{form} input {side}", (batch, ROWS[form], CHANNELS[form], side, side))


def times(form: str, batch: int) -> Tensor | None:
    """(B V',), None for a network that is not told."""
    return torch.tensor(TIMES[form][:batch]).flatten() if form in TIMES else None


@torch.no_grad()
def form_features(model: LGM, form: str, images: Tensor) -> Tensor:
    """(B, V', C, H, W) -> (B, V', 14, H', W')."""
    told = times(form, len(images))
    return model.conv(model.unet(images.flatten(0, 1), images.shape[1], told)).unflatten(0, images.shape[:2])


@torch.no_grad()
def their_form_features(model: nn.Module, form: str, images: Tensor) -> Tensor:
    """The same by the official network."""
    told = times(form, len(images))
    if form == "ouroboros3d":
        assert told is not None
        told = told[:1]
    arguments = (images.flatten(0, 1),) if told is None else (images.flatten(0, 1), told)
    return model.conv(model.unet(*arguments)).unflatten(0, images.shape[:2])


def form_gaussians(model: LGM, features: Tensor) -> Tensor:
    """(B, V', 14, H', W') -> (B, N, 14) of the four views that emit any."""
    return activated(model, features[:, :4])


def form_cameras(form: str) -> Cameras:
    """(1, 4, 4, 4): the form's own rig, views that the network is shown."""
    radius, fov = PRESETS[form]["radius"], PRESETS[form]["ray_fov_y_deg"]
    elevation = 5.0 if form == "videomv" else 0.0
    one = orbit([0, 90, 180, 270], elevation, distance=radius, fov_y_deg=fov, size_px=IMAGE_PX)
    return batched([one])


def pictures(name: str, views: int) -> Tensor:
    """(1, V, 3, IMAGE_PX, IMAGE_PX), about [0, 1] and beyond."""
    return numbers(f"pictures {name}", (1, views, 3, IMAGE_PX, IMAGE_PX)) / 3 + 0.5


def sparse(x: Tensor) -> Tensor:
    """(..., H, W): every other row and column, which the facts hold."""
    return x[..., ::2, ::2]


@torch.no_grad()
def network_input(model: nn.Module, *arguments: Any, **named: Any) -> tuple[Tensor, Tensor]:
    """(V', C, H, W) and times (V',) or (1,) that a network's U-Net gets when the whole network is called."""
    seen: list[Any] = []
    handle = model.unet.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs))
    model(*arguments, **named)
    handle.remove()
    return seen[0], seen[-1]


def our_network_input(form: str, images: Tensor, at: At | None, **changes: object) -> tuple[Tensor, Tensor]:
    """From views (1, 4, 3, H, W) in [0, 1] and where they come from to the U-Net, by ours."""
    model = our_form(form, REDUCED, **{"size_px": INPUT_PX, **changes})
    return network_input(model, images, form_cameras(form), at)
