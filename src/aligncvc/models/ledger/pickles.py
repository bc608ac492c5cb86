"""A reader for pickles that may hold numpy arrays in plain containers, and nothing that runs code."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from aligncvc.errors import UserError

# What numpy itself names when it pickles an array and a scalar.
_RECONSTRUCT, _SCALAR = np.empty(0).__reduce__()[0], np.float32(0).__reduce__()[0]  # type: ignore[index]
_ALLOWED: dict[tuple[str, str], Any] = {
    (module, name): value
    for module in ("numpy.core.multiarray", "numpy._core.multiarray")  # the name before and since numpy 2
    for name, value in (("_reconstruct", _RECONSTRUCT), ("scalar", _SCALAR))
} | {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}


class _NumpyUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Every global of a pickle comes through here; only numpy's own array constructors pass."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def load_numpy_pickle(path: Path | str) -> Any:
    """Read dicts, lists and numpy arrays from a pickle. Raises UserError if it asks for anything else."""
    try:
        return _NumpyUnpickler(io.BytesIO(Path(path).read_bytes())).load()
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        AttributeError,
    ) as error:
        raise UserError(
            f"{path} is not a pickle of plain numpy arrays ({error}) and was not loaded; use a file "
            "from a source you trust, or convert it to safetensors"
        ) from error
