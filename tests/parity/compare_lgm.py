"""Compare our LGM with the official one, number for number, and write down what it yields as facts.

The reference must be importable; nothing is fetched or built. Each option is `package.module:object`:
  --model        callable(**options) -> module with .unet, .conv and .forward_gaussians((B, 4, 9, H, W)), the
                 present release; options: down_channels, down_attention, up_channels, up_attention,
                 splat_size
  --first-model  the same for the first release (quaternions normalised over all Gaussians)
  --rays         callable(pose (4, 4), height, width, fovy) -> origins, directions (H, W, 3)
  --orbit        callable(elevation, azimuth, radius=) -> pose (4, 4)
  --save-ply     callable(gaussians (1, N, 14), path)
--published KIND compares one of the published sizes at 256 pixels (much memory and time) and nothing else.
--facts FOLDER writes key lists, shapes and small outputs of the reference, which CI compares with.

Example:  PYTHONPATH=src:/path/of/reference python tests/parity/compare_lgm.py --model my_wrapper:lgm ...
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lgm_cases import (
    FOV_Y_DEG,
    POSES,
    PUBLISHED,
    PUBLISHED_PX,
    RADIUS,
    RAYS_PX,
    REDUCED,
    REDUCED_PX,
    REDUCED_SPLAT_PX,
    network_input,
    our_features,
    our_gaussians,
    our_lgm,
    our_rays,
    ply_gaussians,
    their_features,
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

from aligncvc.files import atomic_path

OPTIONS = ("down_channels", "down_attention", "up_channels", "up_attention")


def reference(build: Callable[..., Any], sizes: dict[str, Any], splat_size: int) -> Any:
    """The official network of these sizes, filled by formula."""
    model = build(**{key: sizes[key] for key in OPTIONS}, splat_size=splat_size).eval()
    fill(model)
    return model


def compare_published(build: Callable[..., Any], kind: str) -> float:
    """Relative error of the whole published network; one of the two in memory at a time."""
    images = network_input(PUBLISHED_PX, 1)
    expected = their_features(reference(build, PUBLISHED[kind], 128), images)
    return relative_error(our_features(our_lgm(PUBLISHED[kind]), images), expected)


def compare_reduced(builds: dict[int, Callable[..., Any]], facts: Facts) -> Errors:
    """Relative errors of features and Gaussians at reduced width, for each rotation normalisation."""
    errors = {}
    images = network_input(REDUCED_PX, 2)
    for dim, build in builds.items():
        theirs, ours = reference(build, REDUCED, REDUCED_SPLAT_PX), our_lgm(REDUCED, dim)
        features = their_features(theirs, images)
        with torch.no_grad():
            gaussians = theirs.forward_gaussians(images)
        errors[f"features, rot_norm_dim {dim}"] = relative_error(our_features(ours, images), features)
        errors[f"gaussians, rot_norm_dim {dim}"] = relative_error(our_gaussians(ours, images), gaussians)
        facts["features"] = features.numpy()
        facts[f"rotations_{'first' if dim == 1 else 'fixed'}"] = gaussians[..., 7:11].numpy()
        facts["gaussians"] = gaussians[..., [0, 1, 2, 3, 4, 5, 6, 11, 12, 13]].numpy()
    return errors


def compare_rays(rays: Callable[..., Any], orbit: Callable[..., Any], facts: Facts) -> float:
    """Relative error of the Plucker rays of a few cameras, from the official poses."""
    poses = torch.stack([torch.as_tensor(orbit(e, a, radius=RADIUS)).float() for e, a in POSES])
    expected = []
    for pose in poses:
        origins, directions = rays(pose, RAYS_PX, RAYS_PX, FOV_Y_DEG)
        expected.append(
            torch.cat([torch.cross(origins, directions, dim=-1), directions], -1).permute(2, 0, 1)
        )
    facts["poses"], facts["rays"] = poses.numpy(), torch.stack(expected).numpy()
    return relative_error(our_rays(poses), torch.stack(expected))


def key_lists(build: Callable[..., Any]) -> dict[str, dict[str, list[int]]]:
    """Keys and shapes of the published networks, built without memory. Exits if ours differ."""
    found = {}
    for kind, sizes in PUBLISHED.items():
        with torch.device("meta"):
            theirs = build(**{key: sizes[key] for key in OPTIONS}, splat_size=128)
        state = {**{f"unet.{k}": v for k, v in theirs.unet.state_dict().items()},
                 **{f"conv.{k}": v for k, v in theirs.conv.state_dict().items()}}  # fmt: skip
        found[kind] = shapes(state)
        with torch.device("meta"):
            ours = build(PUBLISHED[kind])
        differences = key_differences(shapes(ours.state_dict()), found[kind])
        if differences:
            sys.exit(f"{kind}: {'; '.join(differences[:5])}")
        print(f"{kind}: {len(found[kind])} keys, all equal")
    return found


def main() -> None:
    options = parser(__doc__, ("model", "first-model", "rays", "orbit", "save-ply"))
    options.add_argument("--published", choices=sorted(PUBLISHED))
    arguments = options.parse_args()
    if arguments.published:
        errors = {arguments.published: compare_published(arguments.model, arguments.published)}
    else:
        facts: Facts = {}
        keys = key_lists(arguments.model)
        errors = compare_reduced({1: arguments.first_model, -1: arguments.model}, facts)
        errors["rays"] = compare_rays(arguments.rays, arguments.orbit, facts)
        with tempfile.TemporaryDirectory() as folder:
            arguments.save_ply(ply_gaussians(), f"{folder}/lgm.ply")
            ply = Path(f"{folder}/lgm.ply").read_bytes()
        if arguments.facts:
            write_facts(arguments.facts, "lgm", facts, keys)
            with atomic_path(arguments.facts / "lgm.ply") as temporary:
                temporary.write_bytes(ply)
    conclude(errors)


if __name__ == "__main__":
    main()
