"""Weights load completely or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from aligncvc.errors import UserError

_SHOWN = 5


def load_strict(module: nn.Module, weights: Mapping[str, Tensor] | Path | str, prefix: str = "") -> None:
    """Load weights in place: every key must match and every shape must be equal.

    weights: a state dict, or the path of a safetensors file. prefix: only keys that start with it are
    meant, and it is cut off. Nothing is loaded when anything differs: UserError names the differences.
    """
    where = "the state dict" if isinstance(weights, Mapping) else str(weights)
    state = weights if isinstance(weights, Mapping) else read_safetensors(weights)
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
