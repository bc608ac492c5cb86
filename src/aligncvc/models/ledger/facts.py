"""What a weight file says about itself: one JSON entry of a safetensors header.

`made_for` among the facts is the kind and all settings of the network that the weights were made with. Some
of them no tensor's shape shows (numbers of attention heads and norm groups, the kind of prediction, the
meaning of camera labels): with others the weights would load and compute nonsense. Files without the
entry, such as those of other projects, are taken as they are; what those need, the ledger's `models` say.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.files import atomic_path
from aligncvc.models.specs import ModelSpec

NETWORK = "made_for"
_LIMIT = 100_000_000
"""Bytes of a header, as in the format's own reader."""


def network_facts(spec: ModelSpec) -> dict[str, Any]:
    """What weights made with this network say about it."""
    return {"kind": spec.kind, **spec.network}


def read_facts(path: Path | str) -> dict[str, Any]:
    """The facts in a safetensors header; empty for a file without them and for other formats."""
    try:
        with Path(path).open("rb") as handle:
            (size,) = struct.unpack("<Q", handle.read(8))
            header = json.loads(handle.read(size)) if size < _LIMIT else {}
        facts = json.loads(header.get("__metadata__", {}).get("facts", "{}"))
    except (OSError, struct.error, ValueError, AttributeError, TypeError):
        return {}  # whoever reads the tensors says what is wrong with the file
    return facts if isinstance(facts, dict) else {}


def write_facts(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, object]) -> None:
    """Write tensors to a safetensors file atomically; facts go into its header as one JSON entry.

    One, because safetensors writes several in an order that changes from run to run.
    """
    from safetensors.torch import save_file

    own = {k: v.detach().to("cpu").contiguous() for k, v in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(own, temporary, metadata={"facts": json.dumps(facts, sort_keys=True)})


def check_network(path: Path | str, spec: ModelSpec) -> None:
    """Raise UserError if a file says that its network was built with other settings than `spec`'s."""
    recorded, wanted = read_facts(path).get(NETWORK, {}), network_facts(spec)
    for key, value in recorded.items():
        if key in wanted and wanted[key] != value:
            raise UserError(
                f"{path} was made with a network whose {key} is {value} and the pair's says {wanted[key]}; "
                "use the network that the weights were made with"
            )
