"""Compare LGM's other forms with the official code of three systems, and write down facts.

The reference must be importable; nothing is fetched or built. Each option is `package.module:object`:
  --ouroboros3d, --gen3diffusion, --videomv
                 callable(side, splat_size, **sizes) -> module with .unet and .conv, for views of side pixels;
                 sizes: down_channels, down_attention, up_channels, up_attention; without any: the published.
                 The first two also .forward_gaussians as published
  --ouroboros3d-rig  callable() -> c2w (8, 4, 4), fov in degrees (8,), intrinsics (8, 3, 3)
  --gen3diffusion-input  callable(predicted, noisy, image, time, side) -> what the sampling loop gives the 3D
                 network, (5, 12, side, side) and times (5,): from decoded views (1, 4, 3, H, W) and the image
                 (1, 3, H, W), all in [-1, 1]
  --videomv-rays callable(side, flip) -> (4, 6, side, side), by the data loader or by the inference script
--published FORM compares one form at full size and 256 pixels (much memory and time) and nothing else.
--facts FOLDER writes key lists, shapes and small outputs of the reference, which CI compares with.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch
from lgm_cases import PUBLISHED_PX, REDUCED, REDUCED_PX, REDUCED_SPLAT_PX
from lgm_forms_cases import (
    FORMS,
    INPUT_PX,
    form_features,
    form_gaussians,
    network_input,
    official_name,
    our_form,
    our_network_input,
    pictures,
    reduced,
    rows,
    sparse,
    their_form_features,
    times,
)
from parity_tools import (
    DATA,
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

from aligncvc.models.reconstructors.base import At
from aligncvc.models.reconstructors.lgm.layouts import gen3diffusion
from aligncvc.models.reconstructors.lgm.network import build
from aligncvc.models.reconstructors.lgm.settings import PRESETS

SIZES = {key: REDUCED[key] for key in ("down_channels", "down_attention", "up_channels", "up_attention")}


def filled(model: Any, form: str) -> Any:
    fill(model, lambda name: official_name(form, name))
    return model.eval()


def compare_published(build_theirs: Any, form: str) -> Errors:
    """Relative error and seconds of the whole published network; one of the two in memory at a time."""
    images = rows(form, PUBLISHED_PX, 1)
    expected = their_form_features(filled(build_theirs(), form), form, images)
    ours = our_form(form)
    started = time.perf_counter()
    error = relative_error(form_features(ours, form, images), expected)
    print(f"{time.perf_counter() - started:.1f} s for a call of ours")
    return {f"{form}, published": error}


def compare_reduced(builds: dict[str, Any], facts: Facts) -> Errors:
    """Relative errors of features and Gaussians at reduced width."""
    errors = {}
    for form in FORMS:
        images, ours = rows(form, REDUCED_PX, 2), reduced(form)
        theirs = filled(builds[form](side=REDUCED_PX, splat_size=REDUCED_SPLAT_PX, **SIZES), form)
        features = their_form_features(theirs, form, images)
        errors[f"{form} features"] = relative_error(form_features(ours, form, images), features)
        facts[f"{form} features"] = sparse(features).numpy()
        if form == "gen3diffusion":
            with torch.no_grad():
                gaussians = theirs.forward_gaussians(images, times(form, 2))
            # of the official features: normalising short quaternions magnifies the features' last bits
            errors[f"{form} gaussians"] = relative_error(form_gaussians(ours, features), gaussians)
            whole = form_gaussians(ours, form_features(ours, form, images))
            print(f"{form}: Gaussians from our own features {relative_error(whole, gaussians):.1e}")
    facts.pop("videomv features")  # the stock network's
    return errors


def compare_ouroboros3d(build_theirs: Any, rig: Any, facts: Facts) -> Errors:
    """From decoded views to Gaussians: normalising, resizing, rays; the network is shown four of eight."""
    c2w, fov, intrinsics = (part[None] for part in rig())
    images, now = pictures("ouroboros3d", 8), torch.tensor(0.7)
    model = filled(build_theirs(side=INPUT_PX, splat_size=INPUT_PX // 2, **SIZES), "ouroboros3d")
    model.forward = model.forward_gaussians
    batch = {"c2w": c2w, "fov": fov, "intrinsics": intrinsics}
    expected, told = network_input(model, images * 2 - 1, now, batch)
    found, our_times = our_network_input("ouroboros3d", images[:, ::2], At(now[None]))
    assert bool((our_times == told).all())
    with torch.no_grad():
        gaussians = model(images * 2 - 1, now, batch)
    ours = our_form("ouroboros3d", REDUCED, size_px=INPUT_PX)
    with torch.no_grad():
        features = ours.conv(ours.unet(expected, 4, our_times)).unflatten(0, (1, 4))
    facts["ouroboros3d input"] = sparse(expected).numpy()
    return {
        "ouroboros3d input": relative_error(found, expected),
        "ouroboros3d gaussians": relative_error(form_gaussians(ours, features), gaussians),
    }


def compare_gen3diffusion(loop_input: Any, facts: Facts) -> Errors:
    """What the official loop makes of decoded latents, the input image and the cameras."""
    predicted, noisy = (pictures(f"gen3diffusion {name}", 4) for name in ("predicted", "noisy"))
    image = pictures("gen3diffusion image", 1)[:, 0].clamp(0, 1)
    expected, told = loop_input(*(x * 2 - 1 for x in (predicted, noisy, image)), 581, predicted.shape[-1])
    at = At(torch.tensor([581]), noisy.clamp(0, 1), image)
    found, our_times = our_network_input(
        "gen3diffusion", predicted.clamp(0, 1), at, size_px=predicted.shape[-1]
    )
    assert our_times.tolist() == told.tolist(), (our_times, told)
    facts["gen3diffusion input"] = sparse(expected).numpy()
    return {"gen3diffusion input": relative_error(found, expected)}


def compare_videomv(rays: Any, facts: Facts) -> Errors:
    errors = {}
    for flip in (False, True):
        found, _ = our_network_input("videomv", pictures("videomv", 4), None, release_flip=flip)
        name = "videomv rays" + (" of the release" if flip else "")
        facts[name] = sparse(rays(INPUT_PX, flip)).numpy()
        errors[name] = relative_error(found[:, 3:], rays(INPUT_PX, flip))
    return errors


def key_lists(builds: dict[str, Any]) -> dict[str, dict[str, list[int]]]:
    """Keys and shapes of the published networks, built without memory. Exits if ours differ."""
    found = {}
    for form in FORMS:
        with torch.device("meta"):
            theirs, ours = builds[form]().state_dict(), build(PRESETS[form]).state_dict()
        found[form] = shapes(theirs)
        mine = shapes(gen3diffusion(theirs)) if form == "gen3diffusion" else found[form]
        differences = key_differences(shapes(ours), mine)
        if differences:
            sys.exit(f"{form}: {'; '.join(differences[:5])}")
        print(f"{form}: {len(mine)} keys, all equal")
    big = json.loads((DATA / "lgm_keys.json").read_text())["lgm-big"]
    assert found.pop("videomv") == big, "VideoMV's is not the stock network"
    return found


def main() -> None:
    others = ("ouroboros3d-rig", "gen3diffusion-input", "videomv-rays")
    options = parser(__doc__, (*FORMS, *others))
    options.add_argument("--published", choices=FORMS)
    arguments = options.parse_args()
    builds = {form: getattr(arguments, form) for form in FORMS}
    if arguments.published:
        errors = compare_published(builds[arguments.published], arguments.published)
    else:
        facts: Facts = {}
        keys = key_lists(builds)
        errors = compare_reduced(builds, facts)
        errors |= compare_ouroboros3d(arguments.ouroboros3d, arguments.ouroboros3d_rig, facts)
        errors |= compare_gen3diffusion(arguments.gen3diffusion_input, facts)
        errors |= compare_videomv(arguments.videomv_rays, facts)
        if arguments.facts:
            write_facts(arguments.facts, "lgm_forms", facts, keys)
    conclude(errors)


if __name__ == "__main__":
    main()
