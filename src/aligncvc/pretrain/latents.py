"""Every ring's latents and image tokens, encoded once: the teacher never changes what they come from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from rich.progress import track
from torch import Tensor

from aligncvc.models.generators.wonder3d.network import Condition, Wonder3D
from aligncvc.pretrain.recolour import recoloured
from aligncvc.pretrain.rings import Rings, around_ring, random_rigs
from aligncvc.scene.views import composite
from aligncvc.streams import torch_stream


@dataclass(frozen=True)
class Latents:
    """What the denoiser reads of O rings, as they are (index 0) and seen in a mirror (index 1).

    views (O, R, 2, C, h, w) and tokens (O, R, 2, T, D), float16; cameras (V, E), the rig's embedding.
    """

    views: Tensor
    tokens: Tensor
    cameras: Tensor
    rig: list[int]

    def batch(self, size: int, draw: torch.Generator) -> tuple[Tensor, Condition]:
        """Clean latents (B, V, C, h, w) of random rigs, half of them mirrored, and their conditions."""
        rings, around = self.views.shape[:2]
        objects, starts, mirrored = random_rigs(size, rings, around, draw)
        mirror = mirrored.long()
        index = around_ring(starts, torch.tensor(self.rig), around, mirror)
        x0 = self.views[objects[:, None], index, mirror[:, None]].float()
        tokens = self.tokens[objects, starts, mirror].float()
        return x0, Condition(tokens, x0[:, 0], self.cameras.expand(size, -1, -1))


@torch.no_grad()
def encoded(generator: Wonder3D, rings: Rings, bf16: bool) -> Latents:
    """Encode every view of every ring (about 4 ms an image on two cores, 0.15 MB a ring).

    A view's clean latents are those that it conditions the others with (generators of colours).
    """
    around = len(rings.cameras)
    everyone = torch.arange(around).expand(1, -1)
    rig = torch.tensor(rings.rig)[None]
    c2w = rings.posed(torch.zeros(1).long(), torch.zeros(1).long(), rig)[2].c2w.expand(2 * around, -1, -1, -1)
    views, tokens = [], []
    for i in track(range(len(rings.ids)), description="encoding"):
        rgba = rings.posed(torch.tensor([i]), torch.tensor([0]), everyone)[0][0]
        images = composite(rgba, 1.0)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            condition = generator.encode_condition(torch.cat([images, images.flip(-1)]), c2w)
        views.append(condition.latents.half().unflatten(0, (2, around)).transpose(0, 1))
        tokens.append(condition.tokens.half().unflatten(0, (2, around)).transpose(0, 1))
    return Latents(torch.stack(views), torch.stack(tokens), condition.cameras[0].float(), rings.rig)


def with_recoloured(rings: Rings, seed: int) -> Rings:
    """The rings, and each object's own look once more in other colours."""
    own = rings.select(rings.objects, looks=[0])
    draw = torch_stream(seed, "recoloured-looks")
    other = torch.stack(
        [(recoloured(ring[None].float() / 255, draw, 1.0)[0] * 255).round().byte() for ring in own.rgba]
    )
    return replace(
        rings,
        ids=rings.ids + [f"{name} recoloured" for name in own.ids],
        rgba=torch.cat([rings.rgba, other]),
        depth=torch.cat([rings.depth, own.depth]),
    )
