"""Compare our ImageDream with Gen-3Diffusion's official code, number for number, and write down the facts.

The reference must be importable; nothing is fetched or built. Each option is `package.module:object`:
  --unet      callable(**options) -> the official multi-view U-Net; options: reference_options' keys
  --pipeline  callable(vae=, unet=, tokenizer=, text_encoder=, scheduler=, image_encoder=) -> the pipeline
  --poses     callable() -> (4, 16): the data loader's camera tokens
  --orbit     callable(elevation) -> (5, 16): the pipeline's own camera tokens, negative elevation is up
  --tokens    callable(text) -> ids of CLIP's byte-pair vocabulary, without begin and end
--full compares the published size (about 5 GB) and nothing else.
--facts FOLDER writes key lists, shapes and small outputs of the reference, which CI compares with.

Example:  PYTHONPATH=src:/path/of/reference python tests/parity/compare_imagedream.py --unet wrapper:unet ...
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from diffusers import DDIMScheduler
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from imagedream_cases import (
    ELEVATION_DEG,
    GUIDANCE,
    SIDE,
    SIZE_PX,
    STEPS,
    Renamed,
    image,
    inputs,
    our_samples,
    ours,
    published,
    reference_options,
    reference_output,
    rig_cameras,
    start_noise,
)
from parity_tools import (
    Errors,
    Facts,
    conclude,
    fill,
    key_differences,
    numbers,
    parser,
    relative_error,
    shapes,
    write_facts,
)
from torch import Tensor

from aligncvc.models.generators.imagedream.network import ImageDream, build_unet, camera_tokens
from aligncvc.models.generators.imagedream.prompts import IDS, TEXTS
from aligncvc.models.generators.imagedream.released import unet_from_released
from aligncvc.models.generators.text import padded


def built(build: Callable[..., Any], full: bool = False) -> Any:
    """The official U-Net, with the numbers that ours gets."""
    model = build(**reference_options(full)).eval().requires_grad_(False)
    fill(Renamed(unet_from_released(model.state_dict())))  # type: ignore[arg-type]
    return model


class Tokeniser:
    """The prompts' ids as ours: the vocabulary is compared by itself."""

    model_max_length = 77

    def __call__(self, prompt: str | list[str], **_: Any) -> SimpleNamespace:
        texts = [prompt] if isinstance(prompt, str) else prompt
        known = dict(zip(TEXTS["gen3diffusion"], map(padded, IDS["gen3diffusion"]), strict=True))
        return SimpleNamespace(input_ids=torch.tensor([known[text] for text in texts]))


def compare_unet(build: Callable[..., Any], facts: Facts) -> Errors:
    """Two objects at two timesteps; and the resampler by itself, of features and of zeros."""
    reference, generator, call = built(build), ours(), inputs(2)
    errors = {}
    features = torch.cat([call[2].features, torch.zeros_like(call[2].features[:1])])
    with torch.no_grad():
        for name, expected, found in (
            ("unet", reference_output(reference, *call), generator.raw_prediction(*call)),
            ("resampler", reference.image_embed(features), generator.unet.image_embed(features)),
        ):
            errors[name] = relative_error(found, expected)
            facts[name] = expected.numpy()
    return errors


def compare_sampling(
    build: Callable[..., Any], pipeline: Callable[..., Any], poses: Callable[[], Tensor], facts: Facts
) -> Errors:
    """Image to clean latents through the official pipeline: CLIP's features, text, guidance, DDIM with eta 0.

    VAE and towers are diffusers' and transformers' own and the same objects in both; the official latents of
    the image are a sample, here the mode.
    """
    generator = ours()
    pipe = pipeline(
        vae=generator.vae,
        unet=built(build),
        tokenizer=Tokeniser(),
        text_encoder=generator.text_encoder,
        scheduler=DDIMScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
            set_alpha_to_one=False, steps_offset=1, prediction_type="epsilon",
        ),
        image_encoder=generator.image_encoder.tower,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    picture = image()[None] * 2 - 1
    noise = torch.cat([start_noise()[0], numbers("imagedream last frame", (1, 4, SIDE, SIDE))])
    home = sys.modules[type(pipe).__module__]
    with (
        patch.object(home, "randn_tensor", lambda *_args, **_kwargs: noise),
        patch.object(DiagonalGaussianDistribution, "sample", DiagonalGaussianDistribution.mode),
        torch.no_grad(),
    ):
        _, features = pipe.encode_image(picture, "cpu", 1)
        prompt, negative = TEXTS["gen3diffusion"]
        latents = pipe(
            prompt=prompt, negative_prompt=negative, image=picture, height=SIZE_PX, width=SIZE_PX,
            num_inference_steps=STEPS, guidance_scale=GUIDANCE, output_type="latent",
            camera_pose=poses()[None],
        )[:, :-1]  # fmt: skip
        found = generator.encode_condition(image()[None], rig_cameras()[None])
    facts["features"], facts["samples"] = features.numpy(), latents.numpy()
    return {
        "CLIP's features": relative_error(found.features, features),
        "samples from image to latents": relative_error(our_samples(generator), latents),
    }


def compare_cameras(poses: Callable[[], Tensor], orbit: Callable[[float], Tensor], facts: Facts) -> Errors:
    """Gen-3Diffusion's tokens, whose first view is the input's; and LGM's, whose second view is."""
    facts["poses"] = poses().numpy()
    facts["orbit"] = orbit(-ELEVATION_DEG)[[1, 2, 3, 0, 4]].numpy()
    return {
        "camera tokens": relative_error(camera_tokens(rig_cameras()[None])[0, :-1], poses()),
        "camera tokens, elevated": relative_error(
            camera_tokens(rig_cameras(ELEVATION_DEG)[None])[0], torch.from_numpy(facts["orbit"])
        ),
    }


def compare_full(build: Callable[..., Any]) -> Errors:
    """The whole published network on the four views of an object; one of the two in memory at a time."""
    call = inputs(1, side=32, context=1024)
    expected = reference_output(built(build, full=True), *call)
    gc.collect()
    # the U-Net alone: the other parts are compared at reduced width
    generator = ImageDream.__new__(ImageDream)
    torch.nn.Module.__init__(generator)
    generator.config = published()
    generator.unet = build_unet(generator.config, 32).eval().requires_grad_(False)
    fill(generator.unet)
    with torch.no_grad():
        return {"at full size": relative_error(generator.raw_prediction(*call), expected)}


def key_list(build: Callable[..., Any]) -> dict[str, list[int]]:
    """Keys and shapes of the published network, built without memory. Exits if ours differ."""
    with torch.device("meta"):
        theirs, mine = build(**reference_options(full=True)), build_unet(published(), 32)
    differences = key_differences(shapes(mine.state_dict()), shapes(unet_from_released(theirs.state_dict())))
    if differences:
        sys.exit("; ".join(differences[:5]))
    found = shapes(theirs.state_dict())
    count = sum(p.numel() for p in theirs.parameters())
    print(f"{len(found)} keys, {count:,} parameters, all equal")
    return found


def main() -> None:
    options = parser(__doc__, ("unet", "pipeline", "poses", "orbit", "tokens"))
    options.add_argument("--full", action="store_true")
    arguments = options.parse_args()
    if arguments.full:
        errors = compare_full(arguments.unet)
    else:
        for name, texts in TEXTS.items():
            if [list(arguments.tokens(text)) for text in texts] != [list(ids) for ids in IDS[name]]:
                sys.exit(f"the ids of the prompts {name} are others")
        facts: Facts = {}
        keys = key_list(arguments.unet)
        errors = compare_cameras(arguments.poses, arguments.orbit, facts)
        errors |= compare_unet(arguments.unet, facts)
        errors |= compare_sampling(arguments.unet, arguments.pipeline, arguments.poses, facts)
        if arguments.facts:
            write_facts(arguments.facts, "imagedream", facts, keys)
    conclude(errors)


if __name__ == "__main__":
    main()
