"""Weight files: what they say about themselves, and loading them completely or not at all.

A safetensors header holds facts; `made_for` is the kind and all settings of the network. Some no tensor's
shape shows (attention heads, norm groups, camera labels): with others the weights would compute nonsense.
Files without the entry are taken as they are; what those need, the ledger's `models` say.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from aligncvc.errors import UserError
from aligncvc.files import atomic_path
from aligncvc.models.ledger.ledger import load_ledger
from aligncvc.models.ledger.resolve import resolve
from aligncvc.models.specs import CheckpointAccess, ModelSpec

NETWORK = "made_for"
_INSIDE = ("state_dict", "extractor")
"""Under which names torch files keep the tensors, if not on their own: most, and DISK's."""
_HEADER_LIMIT = 100_000_000
"""Bytes of a header, as in the format's own reader."""

# What numpy itself names when it pickles an array and a scalar.
_RECONSTRUCT, _SCALAR = np.empty(0).__reduce__()[0], np.float32(0).__reduce__()[0]  # type: ignore[index]
_ALLOWED: dict[tuple[str, str], Any] = {
    (module, name): value
    for module in ("numpy.core.multiarray", "numpy._core.multiarray")  # the name before and since numpy 2
    for name, value in (("_reconstruct", _RECONSTRUCT), ("scalar", _SCALAR))
} | {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
_BROKEN_PICKLE = (pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError)


def load_weights(module: nn.Module, weights: Path | str, spec: ModelSpec, access: CheckpointAccess) -> None:
    """Load a file, or a ledger's entry by its id; UserError unless it was made with `spec`'s network."""
    path = weights if isinstance(weights, Path) else resolve(weights, access)
    check_network(path, spec)
    if isinstance(weights, Path):
        return load_strict(module, weights)
    stored = load_ledger(access.ledger).entry(weights).stored
    state = in_our_layout(read_state(path), stored.layout)
    state = {k: v for k, v in state.items() if k.rpartition(".")[2] not in stored.constants}
    load_strict(module, renamed(state, stored.renames), prefix=stored.prefix, where=str(path))


def in_our_layout(state: dict[str, Tensor], layout: str | None) -> dict[str, Tensor]:
    """A release's tensors under our names, by the function that the ledger names; None: they have them."""
    if layout is None:
        return state
    module, _, name = layout.rpartition(".")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"the ledger names a layout {layout!r} that does not exist ({error}); give the dotted name of a "
            "function from a state dict to one"
        ) from None
    return function(state)


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
    """Load a state dict or file in place, all or nothing. prefix: of the keys that are meant, cut off."""
    where = where or ("the state dict" if isinstance(weights, Mapping) else str(weights))
    state = weights if isinstance(weights, Mapping) else read_state(weights)
    given = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    wanted = module.state_dict()
    missing, unexpected, odd = _differences(given, wanted)
    shapes = [f"{k} (file {list(given[k].shape)}, model {list(wanted[k].shape)})" for k in odd]
    named = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
    problems = [f"{len(names)} {what}: {_first(names, 5)}" for what, names in named if names]
    if problems:
        raise UserError(
            f"{where} does not fit {type(module).__name__}: {'; '.join(problems)}; use "
            "the weights that belong to this model and configuration"
        )
    module.load_state_dict(given, strict=True)


def check_same(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: object) -> None:
    """Raise UserError naming the first differences unless keys and shapes are equal."""
    missing, extra, shapes = map(sorted, _differences(found, wanted))
    odd = [f"{k} {tuple(found[k].shape)} instead of {tuple(wanted[k].shape)}" for k in shapes]
    for what, names in (("it lacks", missing), ("it has unknown", extra), ("it has shape", odd)):
        if names:
            raise UserError(
                f"{where} does not fit the pair's network: {what} {_first(names, 3)}; "
                "use the network that the weights were made with"
            )


def _differences(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> tuple[list[str], ...]:
    """Keys that are missing, unexpected and of another shape."""
    odd = [k for k in wanted if k in given and given[k].shape != wanted[k].shape]
    return [k for k in wanted if k not in given], [k for k in given if k not in wanted], odd


def _first(names: list[str], count: int) -> str:
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")


def read_state(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a safetensors or torch file (its entry of _INSIDE), on the CPU; no code is run."""
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
    state = content
    if isinstance(content, dict):
        state = next((content[name] for name in _INSIDE if name in content), content)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} holds no state dict of tensors; give the file of the network's weights")
    return state


def read_safetensors(path: Path | str) -> dict[str, Tensor]:
    """Tensors of a safetensors file by key. Raises UserError for a file that is none."""
    try:
        return load_file(str(path), device="cpu")
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is not a readable safetensors file ({error}); convert or make it again"
        ) from error


def resolved_state(checkpoint_id: str, access: CheckpointAccess) -> dict[str, Tensor]:
    """A ledger entry's tensors by key, its file found, fetched if allowed and checked, or UserError."""
    return read_state(resolve(checkpoint_id, access))


class _NumpyUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Every global of a pickle comes through here; only numpy's own array constructors pass."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def load_numpy_pickle(path: Path | str) -> Any:
    """A pickle of plain numpy arrays, read without running its code. Raises UserError for any other."""
    try:
        return _NumpyUnpickler(io.BytesIO(Path(path).read_bytes())).load()
    except _BROKEN_PICKLE as error:
        raise UserError(
            f"{path} is not a pickle of plain numpy arrays ({error}) and was not loaded; use a file "
            "from a source you trust, or convert it to safetensors"
        ) from error


def network_facts(spec: ModelSpec) -> dict[str, Any]:
    """What a network is, for the header of its file."""
    return {"kind": spec.kind, **spec.network}


def read_facts(path: Path | str) -> dict[str, Any]:
    """The facts in a safetensors header; empty for a file without them and for other formats."""
    try:
        with Path(path).open("rb") as handle:
            (size,) = struct.unpack("<Q", handle.read(8))
            header = json.loads(handle.read(size)) if size < _HEADER_LIMIT else {}
        facts = json.loads(header.get("__metadata__", {}).get("facts", "{}"))
    except (OSError, struct.error, ValueError, AttributeError, TypeError):
        return {}  # whoever reads the tensors says what is wrong with the file
    return facts if isinstance(facts, dict) else {}


def write_facts(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, object]) -> None:
    """Write tensors and facts atomically: one JSON entry, since safetensors orders several at random."""
    own = {k: v.detach().to("cpu").contiguous() for k, v in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(own, temporary, metadata={"facts": json.dumps(facts, sort_keys=True)})


def _agree(recorded: Any, wanted: Any) -> bool:
    """Whether all that was recorded still holds; settings that came later are free."""
    if isinstance(recorded, dict) and isinstance(wanted, dict):
        return all(_agree(value, wanted[key]) for key, value in recorded.items() if key in wanted)
    return bool(recorded == wanted)


def check_network(path: Path | str, spec: ModelSpec) -> None:
    """Raise UserError if a file says that its network was built with other settings than `spec`'s."""
    recorded, wanted = read_facts(path).get(NETWORK, {}), network_facts(spec)
    for key, value in recorded.items():
        if key in wanted and not _agree(value, wanted[key]):
            raise UserError(
                f"{path} was made with a network whose {key} is {value} and the pair's says {wanted[key]}; "
                "use the network that the weights were made with"
            )
