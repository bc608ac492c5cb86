"""Compare our Ouroboros3D generator with the official one, number for number, and write its facts down.

The reference must be importable; nothing is fetched or built. Each option is `package.module:object`:
  --model  callable(**options of UNetSpatioTemporalConditionModel) -> the U-Net with two adapters and rays,
           widths as block_out_channels; called as (latents, timesteps, tokens, time ids, maps, cameras)
  --first-model  the same with the temporal layers of diffusers 0.25.0, which the release pins
  --rays   callable(intrinsics (1, V, 3, 3), c2w (1, V, 4, 4), side) -> harmonic features (1, V, h, w, 78)
  --maps   callable(depth, c2w, intrinsics, side) -> position maps (1, V, 3, H, W)
--rig FOLDER has the release's c2w.npy and intrinsics.npy.
--published compares the whole published width, two views of 128 pixels (14 GB if both were held; one is at a
time), and nothing else. --facts FOLDER writes what CI compares with.

Example:  PYTHONPATH=src:/path/of/reference python tests/parity/compare_ouroboros3d.py --model wrap:net ...
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import EulerDiscreteScheduler
from ouroboros3d_cases import (
    GUIDANCE,
    MAPS_SIDE,
    PUBLISHED_PX,
    PUBLISHED_UNET,
    PUBLISHED_VIEWS,
    RAYS_SIDE,
    REDUCED_UNET,
    VIEWS,
    depth,
    inputs,
    our_rays,
    ours,
    published,
    reduced,
    reference_call,
)
from parity_tools import (
    Errors,
    Facts,
    conclude,
    fill,
    key_differences,
    parser,
    relative_error,
    shapes,
    write_facts,
)
from torch import Tensor

from aligncvc.models.generators.base import over_tree
from aligncvc.models.generators.ouroboros3d.maps import coordinate_maps
from aligncvc.models.generators.ouroboros3d.network import Ouroboros3D


@torch.no_grad()
def compare_published(build: Callable[..., Any], c2w: Tensor, intrinsics: Tensor) -> float:
    """Relative error of the whole published network; one of the two in memory at a time."""
    case = inputs(c2w[PUBLISHED_VIEWS], PUBLISHED_PX, 1024, 1)
    theirs = build(**PUBLISHED_UNET).eval()
    fill(theirs)
    expected = theirs(*reference_call(*case, intrinsics))
    del theirs
    small = published().model_copy(update={"size_px": PUBLISHED_PX, "vae": reduced().vae})
    return relative_error(ours(small).raw_prediction(*case), expected)


@torch.no_grad()
def compare_reduced(
    build: Callable[..., Any],
    first: Callable[..., Any],
    c2w: Tensor,
    intrinsics: Tensor,
    facts: Facts,
) -> Errors:
    """Relative errors at reduced width: network, SVD's scheduler, the release's pair of branches."""
    theirs = build(**REDUCED_UNET).eval()
    fill(theirs)
    generator = ours(reduced())
    z, t, condition = inputs(c2w[VIEWS])
    expected = theirs(*reference_call(z, t, condition, intrinsics))
    free = theirs(*reference_call(z, t, generator.unconditional(condition), intrinsics))
    scale = torch.linspace(1.0, GUIDANCE, len(VIEWS)).view(1, -1, 1, 1, 1)
    guided = free + scale * (expected - free)
    x0 = torch.cat([_clean(guided[i : i + 1], z[i : i + 1], float(t[i])) for i in range(len(t))])
    facts["network"], facts["x0"] = expected.numpy(), x0.numpy()
    found = generator.predict(z, t, condition, GUIDANCE)
    theirs = first(**REDUCED_UNET).eval()
    fill(theirs)
    one = inputs(c2w[VIEWS], batch=1)
    both = over_tree(lambda *b: torch.cat(b), generator.unconditional(one[2]), one[2])
    pair = theirs(*reference_call(one[0].repeat(2, 1, 1, 1, 1), one[1].repeat(2), both, intrinsics))
    facts["pair"] = pair.numpy()
    branches = ours(reduced(temporal_context="released")).branches(*one)
    return {
        "pair of branches, temporal_context released": relative_error(torch.cat(branches), pair),
        "network": relative_error(generator.raw_prediction(z, t, condition), expected),
        "guided x0": relative_error(found.x0, x0),
    }


def _clean(raw: Tensor, z: Tensor, time: float) -> Tensor:
    """What SVD's scheduler makes of the network's output at one noise level."""
    scheduler = EulerDiscreteScheduler(prediction_type="v_prediction", timestep_type="continuous")
    scheduler.set_timesteps(sigmas=[float(np.exp(4 * time)), 0.001])
    scheduler.scale_model_input(z, scheduler.timesteps[0])  # it wants to be asked first
    return scheduler.step(raw, scheduler.timesteps[0], z).pred_original_sample


def key_list(build: Callable[..., Any]) -> dict[str, list[int]]:
    """Keys and shapes of the published network, built without memory. Exits if ours differ."""
    with torch.device("meta"):
        theirs, network = build(**PUBLISHED_UNET), Ouroboros3D(published(), PUBLISHED_PX).unet
    found = shapes(theirs.state_dict())
    differences = key_differences(shapes(network.state_dict()), found)
    if differences:
        sys.exit("; ".join(differences[:5]))
    print(f"{len(found)} keys, all equal")
    return found


def main() -> None:
    options = parser(__doc__, ("model", "first-model", "rays", "maps"))
    options.add_argument("--rig", required=True, type=Path)
    options.add_argument("--published", action="store_true")
    arguments = options.parse_args()
    c2w, intrinsics = (
        torch.from_numpy(np.load(arguments.rig / f"{name}.npy")).float() for name in ("c2w", "intrinsics")
    )
    focal = float(intrinsics[0, 0, 0])
    if arguments.published:
        errors = {"published": compare_published(arguments.model, c2w, intrinsics[0])}
    else:
        facts: Facts = {"c2w": c2w.numpy(), "focal": np.float32(focal)}
        keys = key_list(arguments.model)
        errors = compare_reduced(arguments.model, arguments.first_model, c2w, intrinsics[0], facts)
        rays = arguments.rays(intrinsics[None], c2w[None], RAYS_SIDE)[0]
        poses = c2w[VIEWS][None]
        maps = arguments.maps(depth(), poses, intrinsics[VIEWS][None], MAPS_SIDE)
        facts["rays"], facts["maps"] = rays.numpy(), maps.numpy()
        errors["rays"] = relative_error(our_rays(c2w, focal), rays)
        found = coordinate_maps(depth(), torch.ones_like(depth()), poses, focal, "released")
        errors["maps"] = relative_error(found, maps)
        if arguments.facts:
            write_facts(arguments.facts, "ouroboros3d", facts, keys)
    conclude(errors)


if __name__ == "__main__":
    main()
