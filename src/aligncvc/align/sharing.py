"""Several processes hold a pair's networks together: each has a share of weights, gradients and averages.

torch's fully sharded data parallelism (FSDP2), as the launcher asks for it (profiles/accelerate/fsdp.yaml).
Accelerate's own wrapping expects one network that is called whole; a generator is several, called by part. So
its settings are read, and the parts are shared here: frozen ones too, since they are the most of the weights.
What no unit covers stays whole in every process.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from accelerate import Accelerator
from accelerate.utils import FullyShardedDataParallelPlugin, str_to_bool
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from aligncvc.errors import UserError

MOST = 64_000_000
"""Parameters of the largest unit: so many are whole in a process at a time, beside its shares."""


@dataclass(frozen=True)
class Sharing:
    """How networks are shared. least: parameters of the smallest unit that is worth a message.

    reshard: whether a unit's weights are given up between the forward and the backward pass.
    """

    least: int
    reshard: bool = True

    @classmethod
    def launched(cls, accelerator: Accelerator) -> Self | None:
        """As the launcher says; None: every process holds all. UserError for what cannot be had."""
        if _asked("ACCELERATE_USE_DEEPSPEED"):
            raise UserError(
                "the launcher asks for DeepSpeed, which wants one network and one optimiser, and alignment "
                "has several; give --config_file profiles/accelerate/fsdp.yaml, which shares the same things"
            )
        if not _asked("ACCELERATE_USE_FSDP"):
            return None
        # On a CPU accelerate leaves it aside; torch does not
        plugin = getattr(accelerator.state, "fsdp_plugin", None) or FullyShardedDataParallelPlugin()
        if plugin.fsdp_version != 2:
            raise UserError("the launcher asks for FSDP1, and LoRA needs FSDP2; set fsdp_version to 2")
        if plugin.min_num_params is None:
            raise UserError(
                "the launcher's fsdp_auto_wrap_policy is no SIZE_BASED_WRAP, and units are found by their "
                "size here; set it, and fsdp_min_num_params (profiles/accelerate/fsdp.yaml has both)"
            )
        if _asked("FSDP_OFFLOAD_PARAMS") or plugin.activation_checkpointing:
            raise UserError(
                "the launcher asks FSDP for offloading or for activation checkpointing; set "
                "fsdp_offload_params and fsdp_activation_checkpointing to false "
                "(align.gradient_checkpointing does the latter)"
            )
        return cls(plugin.min_num_params, bool(plugin.reshard_after_forward))

    def share(self, networks: Sequence[nn.Module], accelerator: Accelerator) -> float:
        """Share networks over all processes, in place: the part of their numbers that is.

        Their parameters are new objects afterwards.
        """
        mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
        for network in networks:
            for unit in units(network, self.least):
                fully_shard(unit, mesh=mesh, reshard_after_forward=self.reshard)
        numbers = [(p.numel(), shared(p)) for network in networks for p in network.parameters()]
        return sum(n for n, is_shared in numbers if is_shared) / max(1, sum(n for n, _ in numbers))


def units(network: nn.Module, least: int, most: int = MOST) -> list[nn.Module]:
    """The largest modules within a network of `least` to `most` parameters that are called as modules.

    The network itself is none: what calls its methods would not see its weights.
    """
    found: list[nn.Module] = []
    for child in network.children():
        count = sum(p.numel() for p in child.parameters())
        if count < least:
            continue
        called = type(child).forward is not nn.Module.forward  # a list of modules is not
        found += [child] if called and count <= most else units(child, least, most)
    return found


def shared(tensor: Tensor) -> bool:
    """Whether a process has only its share of a tensor."""
    return isinstance(tensor, DTensor)


def whole(tensor: Tensor) -> Tensor:
    """A tensor, put together if it is shared; every process has to ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def share_like(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's share of a whole tensor, where `like` is shared; no message is sent."""
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    own = tensor.to(like.device)
    return distribute_tensor(own, like.device_mesh, like.placements, src_data_rank=None)


@torch.no_grad()
def clip(parameters: Sequence[nn.Parameter], accelerator: Accelerator, most: float) -> float:
    """Scale gradients, some of them shared, to a norm of at most `most`; the norm before."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    squares = torch.zeros(2, device=accelerator.device)  # of whole gradients, of shares
    for gradient in gradients:
        squares[int(shared(gradient))] += _local(gradient).float().square().sum()
    norm = (squares[0] + accelerator.reduce(squares[1], reduction="sum")).sqrt()
    factor = (most / (norm + 1e-6)).clamp_max(1.0)
    for gradient in gradients:
        _local(gradient).mul_(factor)
    return float(norm)


class WholeState:
    """A part of a run's state that is whole in the file, however its tensors are shared.

    Every process has to ask for it. Only the one that writes gets tensors.
    """

    def __init__(self, part: Any, writes: bool) -> None:
        self.part, self.writes = part, writes

    def state_dict(self) -> Any:
        return self._gathered(self.part.state_dict())

    def load_state_dict(self, state: Any) -> None:
        if isinstance(self.part, torch.optim.Optimizer):
            parameters = [p for group in self.part.param_groups for p in group["params"]]
            averages = {
                index: {name: _share_value(value, parameters[index]) for name, value in values.items()}
                for index, values in state["state"].items()
            }
            self.part.load_state_dict({**state, "state": averages})
        else:
            self.part.load_state_dict(_share_tree(state, self.part.state_dict()))

    def _gathered(self, tree: Any) -> Any:
        if isinstance(tree, Mapping):
            return {key: self._gathered(value) for key, value in tree.items()}
        if isinstance(tree, Tensor):
            tensor = whole(tree)
            return (tensor.cpu() if shared(tree) else tensor) if self.writes else None
        return tree


def _asked(variable: str) -> bool:
    return bool(str_to_bool(os.environ.get(variable, "false")))


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _share_value(value: Any, like: Tensor) -> Any:
    return share_like(value, like) if isinstance(value, Tensor) else value


def _share_tree(tree: Any, like: Any) -> Any:
    if isinstance(tree, Mapping):
        return {key: _share_tree(value, like[key]) if key in like else value for key, value in tree.items()}
    return _share_value(tree, like) if isinstance(like, Tensor) else tree
