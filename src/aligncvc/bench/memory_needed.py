"""How much memory full-size work needs, estimated without any: weights, and what a backward pass keeps.

Activations are found with fake tensors: no numbers are computed or allocated.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from aligncvc.bench.random_weights import Precision, meta_pair, numbers_of
from aligncvc.models.generators.base import Condition
from aligncvc.models.generators.wonder3d.network import resized
from aligncvc.models.pair import PairOfModels
from aligncvc.models.specs import PairSpec

GIB = 2**30

HEADROOM = 3 * GIB
"""Beside the weights: the process with its libraries, and the activations of sampling without gradients."""

TRAINED_COPIES = 5
"""The reconstructor's weights, gradients, two moments and average, in float32."""

BLOCKS = ("down_blocks", "mid_block", "up_blocks")
"""Where the networks keep the blocks that gradient checkpointing computes twice."""


def sampling_bytes(spec: PairSpec, precision: Precision) -> int:
    """What sampling takes: an estimate, to decide whether to try."""
    pair, size = meta_pair(spec), 2 if precision == "bf16" else 4
    return (numbers_of(pair.generator) + numbers_of(pair.reconstructor)) * size + HEADROOM


def step_bytes(spec: PairSpec, plain: bool) -> int:
    """What one training step takes, an estimate: weights and their training state, activations in float32.

    plain: without gradient checkpointing and with a second denoiser for the teacher.
    """
    pair = meta_pair(spec)
    numbers = numbers_of(pair.generator) + TRAINED_COPIES * numbers_of(pair.reconstructor)
    kept, largest_block = step_activations(spec)
    if not plain:
        return 4 * numbers + largest_block + HEADROOM
    return 4 * (numbers + numbers_of(pair.generator.denoiser)) + kept + HEADROOM


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


def step_activations(spec: PairSpec) -> tuple[int, int]:
    """(bytes kept by one step's gradient in float32 without checkpointing, of them in the largest block).

    One object: a guided call of the U-Net with LoRA, the decoder and the reconstructor's U-Net.
    """
    pair = meta_pair(spec)
    # unlike meta tensors, these take the attention kernels of their device
    with FakeTensorMode(allow_non_fake_inputs=True):
        pair.generator.to_empty(device="cpu")
        pair.reconstructor.to_empty(device="cpu").requires_grad_(True)
        return _traced(pair)


def _traced(pair: PairOfModels) -> tuple[int, int]:
    """`step_activations` of networks whose tensors are fake."""
    spec, generator, reconstructor = pair.spec, pair.generator, pair.reconstructor
    views, shown = len(spec.rig.azimuths_deg), len(spec.reconstruct or spec.rig.azimuths_deg)
    saved, largest = Saved([generator, reconstructor]), [0]
    for network in (generator, reconstructor):
        for name, module in network.named_modules():
            if name.endswith("mid_block") or name.rpartition(".")[0].endswith(BLOCKS):
                _watch(module, saved, largest)
    sizes = generator.denoiser.config
    with saved.hooks():
        z = torch.empty(2, *generator.latent_shape(views))  # guidance: unconditional and conditional
        condition = Condition(
            torch.empty(2, 1, sizes.cross_attention_dim),
            torch.empty(2, *z.shape[2:]),
            torch.empty(2, views, sizes.projection_class_embeddings_input_dim),
        )
        # the schedule's numbers are not fake: the prediction is taken as it comes
        raw = generator.raw_prediction(z, torch.full((2,), 999), condition)
        images = generator.decode(raw[1:] - raw[:1])[:, :shown].flatten(0, 1)
        side = spec.reconstructor.network.get("size_px") or images.shape[-1]
        inputs = torch.cat([resized(images, side), torch.empty(shown, 6, side, side)], 1)
        outputs: Any = reconstructor.unet(inputs, shown)  # type: ignore[operator]
    del outputs
    return saved.bytes, largest[0]


def _watch(module: nn.Module, saved: Saved, largest: list[int]) -> None:
    """Keep the largest number of bytes that one call of such a module added."""
    before: list[int] = []

    def enter(*_: Any) -> None:
        before.append(saved.bytes)

    def leave(*_: Any) -> None:
        largest[0] = max(largest[0], saved.bytes - before.pop())

    module.register_forward_pre_hook(enter)
    module.register_forward_hook(leave)
