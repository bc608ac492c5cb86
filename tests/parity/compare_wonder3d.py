"""Compare our Wonder3D with the official one, number for number, and write down what it yields as facts.

The reference must be importable; nothing is fetched or built. Each option is `package.module:object`:
  --v1, --plus                    callable(**options) -> the official U-Net of v1 and of ++
  --v1-pipeline, --plus-pipeline  callable(unet=, vae=, image_encoder=, scheduler=, image_size=) -> pipeline
  --plus-angles                   callable("ortho" | "persp") -> (6, 5): its dataset's camera_embeddings
--full KIND compares one of the published sizes (about 5 GB and some minutes) and nothing else.
--facts FOLDER writes key lists, shapes and small outputs of the reference, which CI compares with.

Example:  PYTHONPATH=src:/path/of/reference python tests/parity/compare_wonder3d.py --v1 my_wrapper:unet ...
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from diffusers import DDIMScheduler
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
from PIL import Image
from torch import Tensor
from wonder3d_cases import (
    DIMS,
    GUIDANCE,
    SIZE_PX,
    STEPS,
    attention_outputs,
    image,
    inputs,
    our_samples,
    ours,
    published,
    reduced,
    reference_call,
    reference_options,
    rig_cameras,
    rows,
    start_noise,
    step_noise,
)

from aligncvc.models.generators.wonder3d.labels import camera_embedding
from aligncvc.models.generators.wonder3d.network import Wonder3D, build_unet


def built(build: Callable[..., Any], **options: Any) -> Any:
    """The official network, filled by formula."""
    model = build(**options).eval().requires_grad_(False)
    fill(model)
    return model


def scheduler() -> DDIMScheduler:
    """As Wonder3D's checkpoints configure it."""
    ddim = DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
        prediction_type="epsilon", timestep_spacing="leading", steps_offset=1, set_alpha_to_one=False,
    )  # fmt: skip
    ddim.set_timesteps(STEPS)
    return ddim


def compare_unets(version: str, build: Callable[..., Any], facts: Facts) -> Errors:
    """Both domains: the output, and each kind of attention by itself."""
    call = inputs(version, 2, 3, 2)
    reference, generator = built(build, **reference_options(version, 3)), ours(reduced(version))
    args, kwargs = reference_call(*call, 2)
    with torch.no_grad(), attention_outputs(reference) as theirs:
        expected = reference(*args, **kwargs).sample
    with torch.no_grad(), attention_outputs(generator.unet) as found:
        output = rows(generator.raw_prediction(*call), 2)
    errors = {f"{version}, both domains": relative_error(output, expected)}
    facts[f"{version} both"] = expected.numpy()
    for name, value in theirs.items():
        errors[f"{version}, {name} attention"] = relative_error(found[name], value)
        facts[f"{version} {name}"] = value.numpy()
    return errors


def compare_colours(build: Callable[..., Any], facts: Facts) -> Errors:
    """Colours only: without cross-domain attention; alone in it; and as AlignCVC's release feeds it."""
    version, errors = "wonder3d-plus", {}
    plain = built(build, **reference_options(version, 4, cross_domain=False))
    joint = built(build, **reference_options(version, 4))
    for name, reference, batch, config in (
        ("no cross-domain attention", plain, 2, reduced(version, "colours", cross_domain=False)),
        ("pairs of views", joint, 1, reduced(version, "colours", alone="view_pairs")),
        ("alone", joint, 2, reduced(version, "colours")),
    ):
        call = inputs(version, batch, 4, 1)
        # a colour that meets its own copy in the other domain sees what a colour alone sees
        copies = 2 if name == "alone" else 1
        args, kwargs = reference_call(*call, 1)
        with torch.no_grad():
            expected = reference(
                *(torch.cat([a] * copies) for a in args),
                **{k: torch.cat([v] * copies) for k, v in kwargs.items()},
            ).sample[: batch * 4]
            output = rows(ours(config).raw_prediction(*call), 1)
        errors[f"colours only, {name}"] = relative_error(output, expected)
        facts[f"colours {name}"] = expected.numpy()
    return errors


def compare_sampling(
    version: str, build: Callable[..., Any], pipeline: Callable[..., Any], facts: Facts, angles: Tensor | None
) -> Errors:
    """Image to clean latents through the official pipeline: conditions, order of guidance, DDIM with eta 1.

    The autoencoder and the image tower are diffusers' and transformers' own and the same objects in both.
    """
    generator = ours(reduced(version))
    pipe = pipeline(
        unet=built(build, **reference_options(version, 6)),
        vae=generator.vae,
        image_encoder=generator.image_encoder.tower,
        scheduler=scheduler(),
        image_size=SIZE_PX,
    )
    pipe.set_progress_bar_config(disable=True)
    steps = iter(range(STEPS))
    picture = Image.fromarray((image() * 255).round().byte().permute(1, 2, 0).numpy())
    start = rows(start_noise(version, 6), 2)
    given = {} if angles is None else {"camera_embedding": angles}
    with patch(
        "diffusers.schedulers.scheduling_ddim.randn_tensor",
        lambda *_args, **_kwargs: rows(step_noise(next(steps), 6), 2),
    ):
        latents = pipe(
            [picture] * 12,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE[version],
            eta=1.0,
            # ++ doubles the noise of the first domain itself
            latents=start[:6] if version == "wonder3d-plus" else start,
            output_type="latent",
            **given,
        ).images
    facts[f"{version} samples"] = latents.numpy()
    return {
        f"{version}, samples from image to latents": relative_error(our_samples(generator, version), latents)
    }


def compare_cameras(pipe: Any, angles: Callable[..., Any], facts: Facts) -> tuple[Errors, Tensor]:
    """The camera and task vectors of v1's table and of ++'s pose files; and the latter's raw angles."""
    errors, domains = {}, ("normals", "colours")
    cameras = rig_cameras()[None]
    expected = pipe.prepare_camera_embedding(pipe.camera_embedding, do_classifier_free_guidance=False)
    facts["wonder3d-v1 camera"] = expected.numpy()
    found = rows(camera_embedding(cameras, dim=10, table="wonder3d-v1", domains=domains), 2)
    errors["wonder3d-v1, camera embedding"] = relative_error(found, expected)
    tasks = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat_interleave(6, 0)
    raw = {}
    for short, camera_type in (("persp", "perspective"), ("ortho", "orthographic")):
        raw[short] = torch.cat([torch.as_tensor(angles(short)).float().repeat(2, 1), tasks], 1)
        expected = torch.cat([raw[short].sin(), raw[short].cos()], 1)
        facts[f"wonder3d-plus camera {camera_type}"] = expected.numpy()
        found = rows(
            camera_embedding(cameras, table="wonder3d-plus", camera_type=camera_type, domains=domains), 2
        )
        errors[f"wonder3d-plus, camera embedding, {camera_type}"] = relative_error(found, expected)
    return errors, raw["ortho"]


def compare_full(kind: str, build: Callable[..., Any]) -> Errors:
    """The whole published network on both domains of six views; one of the two in memory at a time."""
    call = inputs(kind, 1, 6, 2, side=32, token=768)
    args, kwargs = reference_call(*call, 2)
    with torch.no_grad():
        expected = built(build, **reference_options(kind, 6, full=True))(*args, **kwargs).sample
        gc.collect()
        # the U-Net alone: autoencoder and image tower are compared at reduced width
        generator = Wonder3D.__new__(Wonder3D)
        torch.nn.Module.__init__(generator)
        generator.config = published(kind, domains="both")
        generator.domains = ("normals", "colours")
        generator.unet = build_unet(generator.config, 32).eval()
        fill(generator.unet)
        output = rows(generator.raw_prediction(*call), 2)
    return {f"{kind} at full size": relative_error(output, expected)}


def key_lists(builds: dict[str, Callable[..., Any]]) -> dict[str, dict[str, list[int]]]:
    """Keys and shapes of the published networks, built without memory. Exits if ours differ."""
    found = {}
    for kind, build in builds.items():
        with torch.device("meta"):
            theirs = build(**reference_options(kind, 6, full=True))
            mine = build_unet(published(kind), 32)
        found[kind] = shapes(theirs.state_dict())
        differences = key_differences(shapes(mine.state_dict()), found[kind])
        if differences:
            sys.exit(f"{kind}: {'; '.join(differences[:5])}")
        count = sum(p.numel() for p in theirs.parameters())
        print(f"{kind}: {len(found[kind])} keys, {count:,} parameters, all equal")
    return found


def main() -> None:
    options = parser(__doc__, ("v1", "plus", "v1-pipeline", "plus-pipeline", "plus-angles"))
    options.add_argument("--full", choices=sorted(DIMS))
    arguments = options.parse_args()
    builds = {"wonder3d-v1": arguments.v1, "wonder3d-plus": arguments.plus}
    if arguments.full:
        errors = compare_full(arguments.full, builds[arguments.full])
    else:
        facts: Facts = {}
        keys = key_lists(builds)
        small = ours(reduced("wonder3d-v1"))
        pipe = arguments.v1_pipeline(
            unet=arguments.v1(**reference_options("wonder3d-v1", 6)),
            vae=small.vae,
            image_encoder=small.image_encoder.tower,
            scheduler=scheduler(),
            image_size=SIZE_PX,
        )
        errors, angles = compare_cameras(pipe, arguments.plus_angles, facts)
        for version, build in builds.items():
            errors |= compare_unets(version, build, facts)
        errors |= compare_colours(arguments.plus, facts)
        errors |= compare_sampling("wonder3d-v1", arguments.v1, arguments.v1_pipeline, facts, None)
        errors |= compare_sampling("wonder3d-plus", arguments.plus, arguments.plus_pipeline, facts, angles)
        if arguments.facts:
            write_facts(arguments.facts, "wonder3d", facts, keys)
    conclude(errors)


if __name__ == "__main__":
    main()
