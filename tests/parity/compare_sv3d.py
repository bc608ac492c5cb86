"""Compare our SV3D with the official one, number for number, and write down what it yields as facts.

The reference must be importable; nothing is fetched or built. Each option is `package.module:object`:
  --unet         callable(**options) -> the official VideoUNet
  --autoencoder  callable(embed_dim=, monitor=, ddconfig=, lossconfig=) -> AutoencoderKLModeOnly
  --decoder      callable(**ddconfig) -> the first stage's Decoder
  --image-tower  callable(**options) -> OpenCLIP's VisionTransformer
  --preprocess   callable((B, 3, H, W) in [-1, 1]) -> the image embedder's preprocessed input of the tower
  --embedder     callable(dim) -> ConcatTimestepEmbedderND
  --denoiser     callable() -> Denoiser with VScalingWithEDMcNoise
  --wrapper      callable(unet) -> OpenAIWrapper
  --sampler      callable(discretization_config=, guider_config=, num_steps=, device=) -> EulerEDMSampler
  --angles       callable(elevations) -> (polars, azimuths) of its script's default turn, lists of radians
--full VARIANT compares the U-Net of the published size (p or u; about 7 GB) and nothing else.
--facts FOLDER writes key lists, shapes and small outputs of the reference, which CI compares with.

Example:  PYTHONPATH=src:/path/of/reference python tests/parity/compare_sv3d.py --unet my_wrapper:unet ...
"""

from __future__ import annotations

import argparse
import gc
import sys
from typing import Any

import numpy as np
import torch
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
from sv3d_cases import (
    ELEVATIONS,
    FAINT,
    HEAD_CHANNELS,
    LARGEST,
    PARTS,
    REDUCED_CLIP,
    STEPS,
    TOKEN_DIM,
    VECTOR_DIMS,
    VIEWS,
    WIDTH,
    call,
    clip_options,
    filled,
    frames,
    image,
    our_output,
    our_samples,
    ours,
    published,
    reduced,
    start_noise,
    turn,
    unet_options,
    vae_options,
)
from torch import Tensor, nn

from aligncvc.models.generators.sv3d import released
from aligncvc.models.generators.sv3d.orbit import triangle, view_vectors
from aligncvc.models.generators.svd import build_denoiser, smoothly_resized

OPTIONS = ("unet", "autoencoder", "decoder", "image_tower", "preprocess", "embedder", "denoiser", "wrapper",
           "sampler", "angles")  # fmt: skip
TURN = "counter-clockwise"

Builds = argparse.Namespace
Modules = dict[str, nn.Module]


def built(builds: Builds, variant: str, small: bool) -> Modules:
    """The official parts by their names in PARTS, with whatever weights they start with."""
    width = WIDTH if small else 128
    sizes = {"width": WIDTH, "head": HEAD_CHANNELS, "token": TOKEN_DIM} if small else {}
    return {
        "unet": builds.unet(**unet_options(variant, **sizes)),
        "image encoder": builds.image_tower(**clip_options(**(REDUCED_CLIP if small else {}))),
        "autoencoder": builds.autoencoder(
            embed_dim=4, monitor=None, ddconfig=vae_options(width), lossconfig={"target": "torch.nn.Identity"}
        ),
        "decoder": builds.decoder(**vae_options(width)),
    }


def file_of(parts: Modules) -> dict[str, Tensor]:
    """The tensors as the one released file names them."""
    return {PARTS[part] + k: v for part, module in parts.items() for k, v in module.state_dict().items()}


def fill_reference(parts: Modules, strength: float = 1.0) -> dict[str, Tensor]:
    state = filled(shapes(file_of(parts)), strength)
    for part, module in parts.items():
        prefix = PARTS[part]
        module.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        module.eval().requires_grad_(False)
    return state


def reference_output(unet: nn.Module, scaled: Tensor, times: Tensor, condition: Any) -> Tensor:
    batch, count = scaled.shape[:2]
    clean = condition.latents.repeat_interleave(count, 0)
    with torch.no_grad():
        found = unet(
            torch.cat([scaled.flatten(0, 1), clean], 1),
            timesteps=times.repeat_interleave(count),
            context=condition.tokens.repeat_interleave(count, 0),
            y=condition.vectors.flatten(0, 1),
            num_video_frames=count,
            image_only_indicator=torch.zeros(batch, count),
        )
    return found.unflatten(0, (batch, count))


def reference_samples(builds: Builds, parts: Modules) -> Tensor:
    """Image to clean latents by the official conditioner's parts, denoiser, guider and sampler."""
    pixels = image() * 2 - 1
    polars, azimuths = [np.deg2rad(90 - e) for e in ELEVATIONS], np.linspace(0, 360, VIEWS + 1)[1:] % 360
    told = ((256, [1e-5] * VIEWS), (512, polars), (512, np.deg2rad(azimuths)))
    with torch.no_grad():
        vector = torch.cat([builds.embedder(dim)(torch.tensor(v)) for dim, v in told], 1)
        token = parts["image encoder"](builds.preprocess(pixels))
        latents = parts["autoencoder"].encode(pixels)
        condition = {
            "crossattn": token[:, None].repeat(VIEWS, 1, 1),
            "concat": latents.repeat(VIEWS, 1, 1, 1),
            "vector": vector,
        }
        zeros = {k: v if k == "vector" else torch.zeros_like(v) for k, v in condition.items()}
        sampler = builds.sampler(
            discretization_config={
                "target": "sgm.modules.diffusionmodules.discretizer.EDMDiscretization",
                "params": {"sigma_max": 700.0},
            },
            guider_config={
                "target": "sgm.modules.diffusionmodules.guiders.TrianglePredictionGuider",
                "params": {"max_scale": LARGEST, "num_frames": VIEWS},
            },
            num_steps=STEPS,
            device="cpu",
        )
        denoise, network = builds.denoiser(), builds.wrapper(parts["unet"])
        given = {"image_only_indicator": torch.zeros(2, VIEWS), "num_video_frames": VIEWS}
        return sampler(
            lambda z, sigma, told: denoise(network, z, sigma, told, **given),
            start_noise()[0].clone(),
            cond=condition,
            uc=zeros,
        )[None]


def compare_reduced(builds: Builds, facts: dict[str, Any]) -> Errors:
    errors = {}
    for variant in VECTOR_DIMS:
        parts = built(builds, variant, small=True)
        state = fill_reference(parts)
        generator = ours(reduced(variant), state)
        given = call(variant)
        expected = reference_output(parts["unet"], *given)
        errors[f"U-Net, {variant}"] = relative_error(our_output(generator, *given), expected)
        facts[f"unet {variant}"] = expected.numpy()
        if variant == "u":
            continue
        expected = reference_samples(builds, parts)
        errors["image to latents, 3 steps"] = relative_error(our_samples(generator), expected)
        facts["samples"] = expected.numpy()
        with torch.no_grad():
            pixels = builds.preprocess(image(300) * 2 - 1)
            token = parts["image encoder"](pixels)
            latents = parts["autoencoder"].encode(image() * 2 - 1)
            decoded = parts["decoder"](latents)
        condition = generator.encode_condition(image(), turn(ELEVATIONS))
        found = generator.decode(latents[:, None] * generator.scaling_factor)[:, 0] * 2 - 1
        errors["image tower"] = relative_error(generator.image_encoder.tower(pixels).image_embeds, token)
        errors["encoder"] = relative_error(condition.latents, latents)
        errors["decoder"] = relative_error(found, decoded)
        facts["token"], facts["latents"] = token.numpy(), latents.numpy()
        facts["decoded"] = decoded[..., ::4, ::4].numpy()
        state = fill_reference(parts, FAINT)
        expected = reference_output(parts["unet"], *given)
        errors["U-Net, faint weights"] = relative_error(
            our_output(ours(reduced(variant), state), *given), expected
        )
        mixed = ours(reduced(variant, even_norms=False), state)
        print(f"the same with diffusers' norms: {relative_error(our_output(mixed, *given), expected):.1e}")
        facts["unet faint"] = expected.numpy()
    return errors


def compare_beside(builds: Builds, facts: dict[str, Any]) -> Errors:
    """What is beside the networks: the resize, the vectors of its script's turn, the weights of guidance."""
    errors = {}
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.48145466, 0.4578275, 0.40821073),
                                                         (0.26862954, 0.26130258, 0.27577711)))  # fmt: skip
    for side in (96, 300, 576):
        expected = builds.preprocess(image(side) * 2 - 1)
        found = (smoothly_resized(image(side), 224) - mean) / std
        errors[f"resize of {side} px"] = relative_error(found, expected)
        facts[f"resized {side}"] = expected[..., ::16, ::16].numpy()
    elevations = [float(e) for e in np.linspace(-10, 30, 21)]
    polars, azimuths = builds.angles(elevations)
    values = ((256, [1e-5] * 21), (512, polars), (512, azimuths))
    expected = torch.cat([builds.embedder(dim)(torch.tensor(v)) for dim, v in values], 1)
    found = frames(view_vectors(turn(elevations), "angles", TURN, 1e-5))[0]
    errors["vectors of 21 frames"] = relative_error(found, expected)
    facts["angles"], facts["vectors"] = np.array([elevations, polars, azimuths]), expected[:, ::8].numpy()
    for count in (4, 21):
        guider = {"target": "sgm.modules.diffusionmodules.guiders.TrianglePredictionGuider",
                  "params": {"max_scale": LARGEST, "num_frames": count}}  # fmt: skip
        discretization = {"target": "sgm.modules.diffusionmodules.discretizer.EDMDiscretization"}
        expected = builds.sampler(
            discretization_config=discretization, guider_config=guider, num_steps=2, device="cpu"
        ).guider.scale
        errors[f"guidance of {count} frames"] = relative_error(
            frames(triangle(count, LARGEST, TURN)[None]), expected
        )
        facts[f"guidance {count}"] = expected.numpy()
    return errors


def key_lists(builds: Builds) -> dict[str, dict[str, list[int]]]:
    """Keys and shapes of the official files, built without memory; of u those that differ from p's. Exits
    if ours differ."""
    found = {}
    for name, small in (("", False), ("reduced ", True)):
        for variant in VECTOR_DIMS:
            with torch.device("meta"):
                state = file_of(built(builds, variant, small))
                token = reduced(variant).clip.projection_dim if small else 1024
                config = (reduced if small else published)(variant)
                unet = build_denoiser(config.unet, 4, VECTOR_DIMS[variant], token)
            differences = key_differences(shapes(unet.state_dict()), shapes(released.unet(state)))
            if differences:
                sys.exit(f"{name}{variant}: {'; '.join(differences[:5])}")
            found[name + variant] = shapes(state)
        both, only = found[f"{name}p"], found[f"{name}u"]
        found[f"{name}u"] = {key: shape for key, shape in only.items() if both.get(key) != shape}
    return found


def compare_full(builds: Builds, variant: str) -> Errors:
    """The U-Net of the published size, 2 frames of 16 x 16 latents; one of the two in memory at a time."""
    given = call(variant, 1, 2, 16, 1024)
    with torch.device("meta"):
        unet = builds.unet(**unet_options(variant)).eval().requires_grad_(False)
    prefix = PARTS["unet"]
    state = filled({prefix + k: shape for k, shape in shapes(unet.state_dict()).items()})
    unet.load_state_dict({k.removeprefix(prefix): v for k, v in state.items()}, assign=True)
    expected = reference_output(unet, *given)
    del unet
    gc.collect()
    with torch.device("meta"):
        ours_unet = build_denoiser(published(variant).unet, 4, VECTOR_DIMS[variant], 1024)
    ours_unet.load_state_dict(released.unet(state), assign=True)
    scaled, times, condition = given
    clean = condition.latents[:, None].expand_as(scaled)
    with torch.no_grad():
        found = ours_unet.eval()(torch.cat([scaled, clean], 2), times, condition.tokens, condition.vectors)
    return {f"U-Net at full size, {variant}": relative_error(found, expected)}


def main() -> None:
    options = parser(__doc__, OPTIONS)
    options.add_argument("--full", choices=sorted(VECTOR_DIMS))
    arguments = options.parse_args()
    if arguments.full:
        errors = compare_full(arguments, arguments.full)
    else:
        facts: Facts = {}
        keys = key_lists(arguments)
        errors = compare_reduced(arguments, facts) | compare_beside(arguments, facts)
        if arguments.facts:
            write_facts(arguments.facts, "sv3d", facts, keys)
    conclude(errors)


if __name__ == "__main__":
    main()
