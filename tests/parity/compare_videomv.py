"""Compare our VideoMV with the official one, number for number, and write down what it yields as facts.

The reference must be importable; nothing is fetched or built. Each option is `package.module:object`:
  --unet           callable(**options) -> the official UNetSD_I2VGen
  --diffusion      callable(**options) -> the official DiffusionDDIM
  --vae            callable(ddconfig=, embed_dim=) -> the official AutoencoderKL
  --embedder       callable(embed_dim=, vision_cfg=, text_cfg=) -> the official embedder of texts and images
                   round an open_clip.CLIP of these sizes
  --camera         callable(views, elevation=, camera_distance=) -> (V, 16): the official orbit
  --loader-camera  callable(path of a GObjaverse JSON) -> (_, (4, 4)), as the official data loader reads it
--full compares the published size (about 6 GB and some minutes) and nothing else.
--facts FOLDER writes key lists, shapes and small outputs of the reference, which CI compares with.

Example:  PYTHONPATH=src:/path/of/reference python tests/parity/compare_videomv.py --unet my_wrapper:unet ...
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
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
from videomv_cases import (
    ALPHAS,
    ELEVATION_DEG,
    FPS,
    GUIDANCE,
    HEAD,
    IMAGE,
    PUBLISHED,
    RADIUS,
    RIG_VIEWS,
    STEPS,
    TEXT,
    VAE,
    VAE_PX,
    VIEWS,
    WIDTH,
    clip_pixels,
    inputs,
    our_cameras,
    our_generator,
    our_image,
    our_samples,
    our_text,
    our_unet,
    our_vae,
    vae_inputs,
)

from aligncvc.models.encoders import open_clip
from aligncvc.models.encoders.clip import ClipImageEncoder
from aligncvc.models.generators.latent import build_vae
from aligncvc.models.generators.text import build_text_encoder
from aligncvc.models.generators.videomv import released
from aligncvc.models.generators.videomv.network import Condition
from aligncvc.models.generators.videomv.unet import build_unet
from aligncvc.scene.camera_formats import from_opengl, to_gobjaverse, to_imagedream
from aligncvc.scene.cameras import Cameras, orbit, ring_azimuths_deg

NEGATIVE_PROMPT = (
    "Distorted, discontinuous, Ugly, blurry, low resolution, disfigured, disconnected limbs, Ugly faces, "
    "incomplete arms"
)
VIT_H = {
    "embed_dim": 1024,
    "vision_cfg": {"image_size": 224, "layers": 32, "width": 1280, "head_width": 80, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 1024, "heads": 16, "layers": 24},
}
SMALL_CLIP = {
    "embed_dim": IMAGE.projection_dim,
    "vision_cfg": {
        "image_size": IMAGE.image_size, "layers": IMAGE.num_hidden_layers, "width": IMAGE.hidden_size,
        "head_width": IMAGE.hidden_size // IMAGE.num_attention_heads, "patch_size": IMAGE.patch_size,
    },
    "text_cfg": {
        "context_length": 77, "vocab_size": 49408, "width": TEXT.hidden_size,
        "heads": TEXT.num_attention_heads, "layers": TEXT.num_hidden_layers + 1,
    },
}  # fmt: skip


def unet_options(width: int, head: int) -> dict[str, Any]:
    """What the official class is built with; the reconstructor that it may hold is left out."""
    return {
        "in_dim": 4, "dim": width, "y_dim": 1024, "context_dim": 1024, "concat_dim": 4, "out_dim": 4,
        "dim_mult": [1, 2, 4, 4], "num_heads": 8, "head_dim": head, "num_res_blocks": 2,
        "attn_scales": [1, 1 / 2, 1 / 4], "dropout": 0.1, "temporal_attention": True,
        "use_camera_condition": True, "use_lgm_refine": False,
    }  # fmt: skip


def vae_options(channels: int, multiples: list[int], size: int) -> dict[str, Any]:
    return {
        "ddconfig": {
            "double_z": True, "z_channels": 4, "resolution": size, "in_channels": 3, "out_ch": 3,
            "ch": channels, "ch_mult": multiples, "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0,
        },
        "embed_dim": 4,
    }  # fmt: skip


SMALL_VAE = vae_options(VAE.channels[0], [1, 2, 4, 4], VAE_PX)


def built(build: Callable[..., Any], **options: Any) -> Any:
    model = build(**options).eval().requires_grad_(False)
    fill(model)
    return model


def told(condition: Condition, views: int) -> dict[str, Tensor]:
    """The official U-Net's arguments for the conditional branch; frames come before rows."""
    return {
        "y": condition.text,
        "image": condition.image[:, None],
        "local_image": condition.latents[:, :, None].repeat_interleave(views, 2),
        "camera_data": condition.cameras,
        "fps": torch.full((len(condition.text),), FPS),
    }


def official(unet: Any, z: Tensor, t: Tensor, condition: Condition) -> Tensor:
    with torch.no_grad():
        return unet(z.transpose(1, 2), t, **told(condition, z.shape[1])).transpose(1, 2)


def compare_unet(unet: Any, facts: Facts) -> Errors:
    z, t, condition = inputs(2)
    expected = official(unet, z, t, condition)
    facts["unet"] = expected.numpy()
    ours = our_unet(unet.state_dict(), released.unet)
    with torch.no_grad():
        errors = {"U-Net": relative_error(our_generator(ours).raw_prediction(z, t, condition), expected)}
        for parameter in (*unet.camera_embedding[2].parameters(), *ours.camera_embedding[2].parameters()):
            parameter.zero_()
        plain = our_generator(ours).raw_prediction(z, t, condition)
    without = unet(z.transpose(1, 2), t, **(told(condition, VIEWS) | {"camera_data": None})).transpose(1, 2)
    errors["U-Net, no camera"] = relative_error(plain, without)
    fill(unet)
    return errors


def compare_sampling(unet: Any, diffusion: Any, facts: Facts) -> Errors:
    """Guided steps by the official sampler from the same noise, until one is left."""
    z, _, condition = inputs(1)
    free = replace(condition, text=condition.negative, image=torch.zeros_like(condition.image))
    branches = [told(condition, VIEWS), told(free, VIEWS)]
    z = z.transpose(1, 2)
    for i in reversed(range(STEPS)):
        before = z
        t = torch.tensor([1 + i * (1000 // STEPS)])
        z, x0 = diffusion.ddim_sample(
            before, t, unet, None, branches, guide_scale=GUIDANCE, ddim_timesteps=STEPS, eta=0.0
        )
    facts["noisy"], facts["clean"] = (x.transpose(1, 2).numpy() for x in (before, x0))
    found = our_samples(our_generator(our_unet(unet.state_dict(), released.unet)))
    return {
        f"samples, {name}": relative_error(ours, torch.from_numpy(facts[name]))
        for name, ours in zip(("noisy", "clean"), found, strict=True)
    }


def compare_schedule(diffusion: Any, facts: Facts) -> Errors:
    """Largest difference of the share of signal, at all timesteps."""
    alphas = diffusion.alphas_cumprod
    facts["alphas"] = alphas[list(ALPHAS)].numpy()
    ours = our_generator(torch.nn.Identity()).schedule.alphas_cumprod
    assert float(ours[-1]) == float(alphas[-1]) == 0
    return {"alphas": relative_error(ours, alphas)}


def compare_cameras(camera: Callable[..., Tensor], loader: Callable[..., Any], facts: Facts) -> Errors:
    """The tokens of inference, and those that training had for the same cameras."""
    orbits = camera(RIG_VIEWS, elevation=ELEVATION_DEG, camera_distance=RADIUS).reshape(-1, 4, 4)
    orbits[:, 1] *= -1
    expected = orbits[:, [1, 0, 2, 3]].flatten(1)
    facts["cameras"] = expected.numpy()
    errors = {"camera tokens": relative_error(our_cameras()[0], expected)}
    rig = orbit(ring_azimuths_deg(RIG_VIEWS), ELEVATION_DEG, distance=RADIUS, fov_y_deg=39.6, size_px=256)
    seen = []
    for view in to_gobjaverse(Cameras(from_opengl(to_imagedream(rig.c2w)), 39.6, 256, 256)):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as handle:
            handle.write(json.dumps(view))
            handle.flush()
            seen.append(torch.as_tensor(loader(handle.name)[1]).float().flatten())
    errors["camera tokens of the data loader"] = relative_error(our_cameras()[0], torch.stack(seen))
    return errors


def compare_encoders(embedder: Callable[..., Any], vae: Callable[..., Any], facts: Facts) -> Errors:
    towers = embedder(**SMALL_CLIP).eval()
    fill(towers.model)
    state = towers.model.state_dict()
    with torch.no_grad():
        image, _, text = towers(image=clip_pixels(), text=["", NEGATIVE_PROMPT])
    facts["text"], facts["image"] = text.numpy(), image.numpy()
    autoencoder = built(vae, **SMALL_VAE)
    pixels, latents = vae_inputs()
    with torch.no_grad():
        means = autoencoder.encode(pixels).mode() * VAE.scaling_factor
        pictures = autoencoder.decode(latents / VAE.scaling_factor)
    facts["means"], facts["pictures"] = means.numpy(), pictures.numpy()
    inside = {f"first_stage_model.{key}": value for key, value in autoencoder.state_dict().items()}
    found = our_vae(inside, released.vae)
    return {
        "text tokens": relative_error(our_text(state, open_clip.text_tower), text),
        "image embedding": relative_error(our_image(state, open_clip.image_tower), image),
        "VAE, means": relative_error(found[0], means),
        "VAE, pictures": relative_error(found[1], pictures),
    }


def compare_full(build: Callable[..., Any]) -> Errors:
    """The whole published U-Net on four views; one of the two in memory at a time."""
    z, t, condition = inputs(1, VIEWS, 32)
    unet = built(build, **unet_options(320, 64))
    expected, state = official(unet, z, t, condition), unet.state_dict()
    with torch.device("meta"):
        ours = build_unet(PUBLISHED, 32).eval().requires_grad_(False)
    ours.load_state_dict(released.unet(state), strict=True, assign=True)  # the same memory
    del unet, state
    gc.collect()
    with torch.no_grad():
        found = our_generator(ours).raw_prediction(z, t, condition)
    return {"U-Net at full size": relative_error(found, expected)}


def key_lists(arguments: argparse.Namespace) -> dict[str, dict[str, list[int]]]:
    """Keys and shapes of the published networks, built without memory. Exits if ours differ."""
    with torch.device("meta"):
        clip = arguments.embedder(**VIT_H).model.state_dict()
        small = {
            "clip small": arguments.embedder(**SMALL_CLIP).model.state_dict(),
            "vae small": arguments.vae(**SMALL_VAE).state_dict(),
        }
        vae = arguments.vae(**vae_options(128, [1, 2, 4, 4], 256)).state_dict()
        theirs = {
            "unet": arguments.unet(**unet_options(320, 64)).state_dict(),
            "vae": {f"first_stage_model.{key}": value for key, value in vae.items()},
            "text_encoder": clip,
            "image_encoder": clip,
        }
        assert PUBLISHED.text is not None
        ours = {
            "unet": (build_unet(PUBLISHED, 32), released.unet),
            "vae": (build_vae(PUBLISHED.vae, 256), released.vae),
            "text_encoder": (build_text_encoder(PUBLISHED.text), open_clip.text_tower),
            "image_encoder": (ClipImageEncoder(**PUBLISHED.clip.model_dump()).tower, open_clip.image_tower),
        }
    for part, (module, layout) in ours.items():
        differences = key_differences(shapes(layout(theirs[part])), shapes(module.state_dict()))
        if differences:
            sys.exit(f"{part}: {'; '.join(differences[:5])}")
        print(f"{part}: {len(theirs[part])} keys become {len(module.state_dict())}, all equal")
    found = {"unet": theirs["unet"], "vae": theirs["vae"], "clip": clip, **small}
    return {name: shapes(state) for name, state in found.items()}


def main() -> None:
    options = parser(__doc__, ("unet", "diffusion", "vae", "embedder", "camera", "loader-camera"))
    options.add_argument("--full", action="store_true")
    arguments = options.parse_args()
    if arguments.full:
        errors = compare_full(arguments.unet)
    else:
        facts: Facts = {}
        keys = key_lists(arguments)
        unet = built(arguments.unet, **unet_options(WIDTH, HEAD))
        diffusion = arguments.diffusion(
            schedule="cosine", mean_type="v", var_type="fixed_small",
            schedule_param={"num_timesteps": 1000, "cosine_s": 0.008, "zero_terminal_snr": True},
        )  # fmt: skip
        errors = compare_sampling(unet, diffusion, facts) | compare_unet(unet, facts)
        errors |= compare_schedule(diffusion, facts)
        errors |= compare_cameras(arguments.camera, arguments.loader_camera, facts)
        errors |= compare_encoders(arguments.embedder, arguments.vae, facts)
        if arguments.facts:
            write_facts(arguments.facts, "videomv", facts, keys)
    conclude(errors)


if __name__ == "__main__":
    main()
