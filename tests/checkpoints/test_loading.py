"""Weights load completely or not at all, and a pickle cannot run code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from aligncvc.errors import UserError
from aligncvc.models.ledger.weights import load_numpy_pickle, load_strict, read_state, renamed


def test_load_strict_fills_a_module_from_a_file_with_a_prefix(tmp_path: Path) -> None:
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    save_file(
        {f"net.{k}": v for k, v in source.state_dict().items()} | {"other": torch.zeros(1)},
        tmp_path / "w.safetensors",
    )
    load_strict(target, tmp_path / "w.safetensors", prefix="net.")
    assert torch.equal(target.weight, source.weight) and torch.equal(target.bias, source.bias)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"weight": torch.zeros(2, 3)}, "1 missing: bias"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "gain": torch.zeros(1)}, "1 unexpected: gain"),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(2)}, r"weight \(file \[3, 2\], model \[2, 3\]\)"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(1)}, "1 of another shape: bias"),
    ],
)
def test_load_strict_names_every_difference_and_loads_nothing(state, message: str) -> None:
    module = nn.Linear(3, 2)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    with pytest.raises(UserError, match=message):
        load_strict(module, state)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def test_load_strict_reads_safetensors_and_plain_torch_files(tmp_path: Path) -> None:
    source, target = nn.Linear(2, 1), nn.Linear(2, 1)
    torch.save(source.state_dict(), tmp_path / "w.bin")
    torch.save({"state_dict": source.state_dict(), "epoch": 1}, tmp_path / "w.ckpt")
    for name in ("w.bin", "w.ckpt"):
        nn.init.zeros_(target.weight)
        load_strict(target, tmp_path / name)
        assert torch.equal(target.weight, source.weight)
    (tmp_path / "w.safetensors").write_bytes((tmp_path / "w.bin").read_bytes())
    with pytest.raises(UserError, match="not a readable safetensors file"):
        load_strict(target, tmp_path / "w.safetensors")


def test_torch_files_run_no_code_and_hold_tensors(tmp_path: Path) -> None:
    torch.save({"state_dict": {"weight": Malicious(tmp_path / "owned")}}, tmp_path / "w.ckpt")
    with pytest.raises(UserError, match="not a readable torch file of plain tensors"):
        read_state(tmp_path / "w.ckpt")
    assert not (tmp_path / "owned").exists()
    torch.save({"weight": 3}, tmp_path / "w.bin")
    with pytest.raises(UserError, match="holds no state dict of tensors"):
        read_state(tmp_path / "w.bin")
    (tmp_path / "w.pth").write_bytes(b"")
    with pytest.raises(UserError, match="not a readable torch file"):
        read_state(tmp_path / "w.pth")


def test_old_names_that_meet_new_ones_are_refused() -> None:
    state = {"a.old.b": torch.zeros(1), "a.older.b": torch.zeros(2)}
    assert renamed(state, {"old": "new"}).keys() == {"a.new.b", "a.older.b"}
    with pytest.raises(UserError, match=r"a\.new\.b under an old and a new name"):
        renamed({**state, "a.new.b": torch.zeros(1)}, {"old": "new"})


class Malicious:
    """Pickles to a call of os.mkdir: loading it would leave a folder behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_runs_code_is_refused_unrun(tmp_path: Path) -> None:
    target = tmp_path / "owned"
    (tmp_path / "bad.ckpt").write_bytes(pickle.dumps({"a": np.zeros(2), "b": Malicious(target)}))
    with pytest.raises(UserError, match="mkdir"):
        load_numpy_pickle(tmp_path / "bad.ckpt")
    assert not target.exists()
    pickle.loads((tmp_path / "bad.ckpt").read_bytes())
    assert target.exists(), "the ordinary unpickler runs it, so the refusal above meant something"


def test_object_arrays_cannot_smuggle_code(tmp_path: Path) -> None:
    array = np.empty(1, dtype=object)
    array[0] = Malicious(tmp_path / "owned")
    (tmp_path / "bad.ckpt").write_bytes(pickle.dumps(array))
    with pytest.raises(UserError):
        load_numpy_pickle(tmp_path / "bad.ckpt")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps({"a": np.zeros(3)})[:-9]])
def test_broken_pickles_are_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.ckpt").write_bytes(content)
    with pytest.raises(UserError, match="not a pickle of plain numpy arrays"):
        load_numpy_pickle(tmp_path / "bad.ckpt")


@pytest.mark.parametrize("protocol", [3, 4])
def test_numpy_arrays_come_back(tmp_path: Path, protocol: int) -> None:
    value = {"a": [np.arange(6, dtype=np.float32).reshape(2, 3)], "b": np.float32(2.5)}
    (tmp_path / "good.ckpt").write_bytes(pickle.dumps(value, protocol=protocol))
    found = load_numpy_pickle(tmp_path / "good.ckpt")
    assert np.array_equal(found["a"][0], value["a"][0]) and found["b"] == value["b"]
