"""Weights load completely or not at all."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aligncvc.errors import UserError
from aligncvc.models.ledger.ledger import load_ledger
from aligncvc.models.ledger.resolve import resolve
from aligncvc.models.specs import CheckpointAccess

_SHOWN = 5


def load_checkpoint(
    module: nn.Module, checkpoint_id: str, access: CheckpointAccess = CheckpointAccess()
) -> None:
    """Load a ledger entry's verified file into a module, strictly, as the ledger says that it is stored.

    Numbers take the module's dtype. Raises UserError as `resolve` and `load_strict` do.
    """
    path = resolve(checkpoint_id, access)
    stored = load_ledger(access.ledger).entry(checkpoint_id).stored
    state = {k: v for k, v in read_state(path).items() if k.rpartition(".")[2] not in stored.constants}
    load_strict(module, renamed(state, stored.renames), prefix=stored.prefix, where=str(path))


def renamed(state: Mapping[str, Tensor], renames: Mapping[str, str]) -> dict[str, Tensor]:
    """The state dict, whole parts of its key names (between dots) replaced. UserError if two keys meet."""
    new: dict[str, Tensor] = {}
    for key, value in state.items():
        name = ".".join(renames.get(part, part) for part in key.split("."))
        if name in new:
            raise UserError(f"the state dict holds {name} under an old and a new name; keep one of them")
        new[name] = value
    return new


def load_strict(
    module: nn.Module, weights: Mapping[str, Tensor] | Path | str, prefix: str = "", where: str | None = None
) -> None:
    """Load weights in place: every key must match and every shape must be equal.

    weights: a state dict, or the path of a file that `read_state` reads. prefix: only keys that start with it
    are meant, and it is cut off. where: how messages name a state dict. Nothing is loaded when anything
    differs: UserError names the differences.
    """
    where = where or ("the state dict" if isinstance(weights, Mapping) else str(weights))
    state = weights if isinstance(weights, Mapping) else read_state(weights)
    given = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    wanted = module.state_dict()
    problems = [
        _listing("missing", [k for k in wanted if k not in given]),
        _listing("unexpected", [k for k in given if k not in wanted]),
        _listing(
            "of another shape",
            [
                f"{k} (file {list(given[k].shape)}, model {list(wanted[k].shape)})"
                for k in wanted
                if k in given and given[k].shape != wanted[k].shape
            ],
        ),
    ]
    if any(problems):
        raise UserError(
            f"{where} does not fit {type(module).__name__}: {'; '.join(filter(None, problems))}; use "
            "the weights that belong to this model and configuration"
        )
    module.load_state_dict(given, strict=True)


def read_state(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a .bin, .pt, .pth or .ckpt file of torch, on the CPU.

    Of a training checkpoint the `state_dict` is meant. Pickles are read with `weights_only`: they run no
    code. Raises UserError for any other or a broken file.
    """
    if Path(path).suffix not in {".bin", ".pt", ".pth", ".ckpt"}:
        return read_safetensors(path)
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{path} is not a readable torch file of plain tensors ({reason}); fetch it again, or convert it "
            "to safetensors where you trust it"
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} holds no state dict of tensors; give the file of the network's weights")
    return state


def read_safetensors(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU. Raises UserError for any other or a broken file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(path), device="cpu")
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is not a readable safetensors file ({error}); convert or make it again"
        ) from error


def _listing(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{more}"
