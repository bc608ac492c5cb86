"""What a backward pass keeps in memory, found with fake tensors: no numbers are computed or allocated."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from aligncvc.bench.weights import meta_pair
from aligncvc.config.sections import Config
from aligncvc.models.generators import Condition, MultiViewGenerator
from aligncvc.models.generators.wonder3d.network import LITE0_DIM, resized

BLOCKS = ("down_blocks", "mid_block", "up_blocks")
"""Where the networks keep the blocks that gradient checkpointing computes twice."""


class Saved:
    """Bytes that autograd keeps inside `with saved.hooks()`, each storage once, parameters not counted."""

    def __init__(self, networks: list[nn.Module]) -> None:
        self.bytes = 0
        self._seen = {_storage(p) for n in networks for p in [*n.parameters(), *n.buffers()]}
        self._alive: list[Tensor] = []

    def hooks(self) -> saved_tensors_hooks:
        return saved_tensors_hooks(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: Tensor) -> Tensor:
        if _storage(tensor) not in self._seen:
            self._seen.add(_storage(tensor))
            self._alive.append(tensor)  # so that no later storage takes its address
            self.bytes += tensor.untyped_storage().nbytes()
        return tensor


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def step_activations(config: Config) -> tuple[int, int]:
    """(bytes kept by one step's gradient in float32 without checkpointing, of them in the largest block).

    One object: a guided call of the U-Net with LoRA, the decoder and the reconstructor's U-Net.
    """
    generator, reconstructor = meta_pair(config)
    with FakeTensorMode(
        allow_non_fake_inputs=True
    ):  # unlike meta tensors, these take the attention kernels of their device
        generator.to_empty(device="cpu")
        reconstructor.to_empty(device="cpu").requires_grad_(True)
        return _traced(config, generator, reconstructor)


def _traced(config: Config, generator: MultiViewGenerator, reconstructor: nn.Module) -> tuple[int, int]:
    """`step_activations` of networks whose tensors are fake."""
    views = config.render.rig_views
    saved, largest = Saved([generator, reconstructor]), [0]
    for network in (generator, reconstructor):
        for name, module in network.named_modules():
            if name.endswith("mid_block") or name.rpartition(".")[0].endswith(BLOCKS):
                _watch(module, saved, largest)
    tokens = config.mvg.clip.projection_dim if config.mvg.image_encoder == "clip" else LITE0_DIM
    with saved.hooks():
        z = torch.empty(1, *generator.latent_shape(views))
        cameras = torch.empty(1, views, config.mvg.camera_dim)
        condition = Condition(torch.empty(1, 1, tokens), torch.empty(1, *z.shape[2:]), cameras)
        now = torch.full((1,), 999)
        # the schedule's numbers are not fake: the prediction is taken as it comes
        free = condition.dropped()
        both = [torch.cat([a, b]) for a, b in zip(_members(free), _members(condition), strict=True)]
        raw = generator.raw_prediction(torch.cat([z, z]), torch.cat([now, now]), Condition(*both))
        images = generator.decode(raw[1:] - raw[:1]).flatten(0, 1)
        side = config.recon.size_px or images.shape[-1]
        inputs = torch.cat([resized(images, side), torch.empty(views, 6, side, side)], 1)
        outputs: Any = reconstructor.unet(inputs, views)  # type: ignore[operator]
    del outputs
    return saved.bytes, largest[0]


def _members(condition: Condition) -> tuple[Tensor, ...]:
    return condition.tokens, condition.latents, condition.cameras


def _watch(module: nn.Module, saved: Saved, largest: list[int]) -> None:
    """Keep the largest number of bytes that one call of such a module added."""
    before: list[int] = []

    def enter(*_: Any) -> None:
        before.append(saved.bytes)

    def leave(*_: Any) -> None:
        largest[0] = max(largest[0], saved.bytes - before.pop())

    module.register_forward_pre_hook(enter)
    module.register_forward_hook(leave)
