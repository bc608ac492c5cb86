"""Compare our GeoLRM with the official one, number for number, and write down what it yields as facts.

The reference must be importable; nothing is fetched or built. Each option is `package.module:object`:
  --proposal        callable(settings) -> the official TransformerSerializer in evaluation mode
  --reconstruction  callable(settings) -> the official GeoLRM (networks only) in evaluation mode
  --between-tokens  callable(bool): which branch its self-attention takes from now on
  --rig             get_sv3d_input_cameras: callable(radius, fov) -> c2w (21, 4, 4), intrinsics (21, 3, 3)
  --rays            get_ray_embedding: callable(intrinsics, c2w, height, width) -> (V, 6, H, W)
  --keys            callable(settings) -> {key: shape} of the released networks, named as its libraries do
settings are those of tests/parity/geolrm_cases.py; `positions: offset` is what its transformers does.
--full compares the published widths (334.6 M parameters) and nothing else. float64 says if the formulas are
the same; in float32 sixteen layers of weights by formula carry either code's rounding beyond the tolerance.
--facts FOLDER writes key lists, shapes and small outputs of the reference, which CI compares with.

Example:  PYTHONPATH=src:/path/of/reference python tests/parity/compare_geolrm.py --proposal wrapper:net ...
"""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any
from unittest.mock import patch

import torch
from geolrm_cases import (
    FORMS,
    FOV_DEG,
    FULL,
    KEPT,
    RADIUS,
    VIEWS,
    fill_all,
    our_geometry,
    our_model,
    our_values,
    points,
    reduced,
    views,
)
from parity_tools import (
    Errors,
    Facts,
    conclude,
    key_differences,
    parser,
    relative_error,
    shapes,
    write_facts,
)
from torch import Tensor

from aligncvc.models.reconstructors.geolrm.network import build, released
from aligncvc.models.reconstructors.geolrm.settings import PRESETS
from aligncvc.scene.camera_formats import to_opengl
from aligncvc.scene.cameras import look_at_origin
from aligncvc.streams import stream_seed

RAYS_PX = 6


@torch.no_grad()
def their_values(
    given: argparse.Namespace, settings: dict[str, Any], batch: int, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """What the official networks yield, one of them in memory at a time."""
    given.between_tokens(settings["self_attention"] == "tokens")
    poses = (x[VIEWS].expand(batch, -1, -1, -1).to(dtype) for x in given.rig(RADIUS, FOV_DEG))
    c2w, intrinsics = (x.clone() for x in poses)
    images = views(settings["size_px"], batch).to(dtype)
    network = given.proposal(settings)
    fill_all(network)
    network.to(dtype)
    logits = network.pred_occupancy(images, c2w, intrinsics)
    torch.manual_seed(stream_seed(0, "tokens"))  # its order where there are too many
    found = [network(images[b : b + 1], c2w[b : b + 1], intrinsics[b : b + 1]) for b in range(batch)]
    if not settings.get("pad_tokens"):
        found = [(tokens[:, mask[0]], mask[:, mask[0]]) for tokens, mask in found]
    del network
    network = given.reconstruction(settings)
    fill_all(network)
    network.to(dtype)
    features, _ = network.encoder(images, intrinsics, c2w)
    objects = []
    for b, (tokens, _) in enumerate(found):
        tokens = tokens.clone()  # out of inference mode
        seen = (x[b : b + 1] for x in (images, intrinsics, c2w))
        latents = network.forward_latents(tokens, *seen, xyz_scale=settings["rope_scale"])
        objects.append(network.renderer.get_gaussians(tokens, latents)[0])
    values = {"features": features, "logits": logits, "tokens": found[0][0][0]}
    return values | {f"gaussians {b}": g for b, g in enumerate(objects)}


def errors_of(ours: dict[str, Tensor], theirs: dict[str, Tensor], case: str) -> Errors:
    """Relative errors; of the Gaussians as many as the official code has, the others must be invisible."""
    errors = {f"{name}, {case}": relative_error(ours[name], theirs[name]) for name in ("features", "logits")}
    for b, own in enumerate(ours["gaussians"]):
        wanted = theirs[f"gaussians {b}"]
        errors[f"gaussians {b}, {case}"] = relative_error(own[: len(wanted)], wanted)
        if bool(own[len(wanted) :, 3].any()):
            sys.exit(f"{case}: padding of object {b} has an opacity")
    return errors


def compare(given: argparse.Namespace, facts: Facts) -> Errors:
    c2w, intrinsics = (x[VIEWS] for x in given.rig(RADIUS, FOV_DEG))
    facts["c2w"], facts["intrinsics"] = c2w.numpy(), intrinsics.numpy()
    errors: Errors = {}
    cases = {form: reduced(form) for form in FORMS}
    cases["padded"] = {**reduced("trained"), "pad_tokens": True}
    cases["shuffled"] = {**reduced("trained"), "tokens": "shuffled", "max_tokens": 100}
    for case, settings in cases.items():
        batch = (
            1 if case == "shuffled" else 2
        )  # the official order of the second object goes on from the first
        theirs = their_values(given, settings, batch)
        errors |= errors_of(our_values(our_model(settings), c2w, batch), theirs, case)
        if case in FORMS:
            kept = {name: value for name, value in theirs.items() if name != "tokens"}
            facts |= {f"{case}: {name}": value[..., ::KEPT, :].numpy() for name, value in kept.items()}
        print(case, [len(v) for k, v in theirs.items() if k.startswith("gaussians")], "Gaussians")
    network = given.reconstruction(reduced("trained"))
    ours = our_geometry(c2w, RAYS_PX)
    facts["rays"] = given.rays(intrinsics.clone(), c2w, RAYS_PX, RAYS_PX).numpy()
    matrices = (intrinsics @ torch.inverse(c2w)[:, :3])[None]
    facts["projected"] = network.transformer.project_points(points(50), matrices)[0].numpy()
    return errors | {name: relative_error(ours[name], torch.from_numpy(facts[name])) for name in ours}


def compare_full(given: argparse.Namespace, dtype: torch.dtype) -> Errors:
    """Relative errors at the published widths; one network in memory at a time."""
    c2w, intrinsics = (x.to(dtype) for x in given.rig(RADIUS, FOV_DEG))
    # the official poses and focal lengths are rounded to float32
    c2w = to_opengl(look_at_origin(c2w[:, :3, 3]))
    intrinsics[:, [0, 1], [0, 1]] = 0.5 / math.tan(math.radians(FOV_DEG) / 2)
    given.rig = lambda *_: (c2w, intrinsics)
    torch.set_default_dtype(dtype)
    # both codes cast to float32 in places, which here means the precision of the comparison
    with patch.object(torch.Tensor, "float", lambda tensor: tensor.to(dtype)):
        theirs = their_values(given, FULL, 1, dtype)
        # of two million voxels a few have a logit so near 0 that rounding decides: the official tokens here
        tokens = [theirs.pop("tokens")]
        return errors_of(our_values(our_model(FULL).to(dtype), c2w[VIEWS], 1, tokens), theirs, "full")


def key_list(given: argparse.Namespace) -> dict[str, list[int]]:
    """Keys and shapes of the released networks. Exits if ours differ once the layout is applied."""
    found = given.keys(PRESETS["base"])
    with torch.device("meta"):
        stored = released({key: torch.empty(shape) for key, shape in found.items()})
        ours = build(PRESETS["base"]).state_dict()
    if differences := key_differences(shapes(ours), shapes(stored)):
        sys.exit("; ".join(differences[:5]))
    print(f"{len(found)} keys, all equal")
    return found


def main() -> None:
    options = parser(__doc__, ("proposal", "reconstruction", "between-tokens", "rig", "rays", "keys"))
    options.add_argument("--full", choices=["float32", "float64"])
    given = options.parse_args()
    if given.full:
        errors = compare_full(given, getattr(torch, given.full))
    else:
        facts: Facts = {}
        keys = key_list(given)
        errors = compare(given, facts)
        if given.facts:
            write_facts(given.facts, "geolrm", facts, keys)
    conclude(errors)


if __name__ == "__main__":
    main()
