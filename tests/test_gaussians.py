"""Gaussians as a value and as a PLY."""

from __future__ import annotations

import struct
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from aligncvc.errors import UserError
from aligncvc.scene.gaussians import SH_C0, Gaussians, load_harmonics, load_ply, save_ply


def some(count: int = 20, seed: int = 0) -> Gaussians:
    g = torch.Generator().manual_seed(seed)
    quats = torch.randn(count, 4, generator=g)
    return Gaussians(
        means=torch.randn(count, 3, generator=g),
        scales=torch.rand(count, 3, generator=g) * 0.1 + 1e-3,
        quats=quats / quats.norm(dim=-1, keepdim=True),
        opacities=torch.rand(count, generator=g) * 0.95 + 0.02,
        colors=torch.rand(count, 3, generator=g),
    )


def test_ply_round_trip(tmp_path: Path) -> None:
    written = some()
    save_ply(tmp_path / "model.ply", written)
    read = load_ply(tmp_path / "model.ply")
    for field in fields(written):
        torch.testing.assert_close(
            getattr(read, field.name), getattr(written, field.name), atol=1e-5, rtol=1e-5
        )


def test_ply_is_the_3dgs_layout(tmp_path: Path) -> None:
    """Read with struct alone, as a viewer would: logit opacity, log scale, degree-0 harmonics, w first."""
    written = some(2)
    save_ply(tmp_path / "model.ply", written)
    header, body = (tmp_path / "model.ply").read_bytes().split(b"end_header\n")
    assert header.startswith(b"ply\nformat binary_little_endian 1.0\nelement vertex 2\nproperty float x\n")
    names = [line.split()[-1].decode() for line in header.splitlines() if line.startswith(b"property float ")]
    first = dict(zip(names, struct.unpack(f"<{len(names)}f", body[: 4 * len(names)]), strict=True))
    assert len(body) == 2 * 4 * len(names)
    assert first["y"] == pytest.approx(float(written.means[0, 1]))
    assert first["f_dc_2"] == pytest.approx((float(written.colors[0, 2]) - 0.5) / SH_C0, abs=1e-5)
    assert first["opacity"] == pytest.approx(float(torch.logit(written.opacities[0])), abs=1e-5)
    assert first["scale_1"] == pytest.approx(float(written.scales[0, 1].log()), abs=1e-5)
    assert first["rot_0"] == pytest.approx(float(written.quats[0, 0]))


def test_a_ply_of_nothing_is_one_sentence(tmp_path: Path) -> None:
    save_ply(tmp_path / "model.ply", some(3)[slice(0, 0)])
    with pytest.raises(UserError, match=r"model\.ply holds no Gaussians; export it again"):
        load_ply(tmp_path / "model.ply")


def test_invisible_gaussians_are_not_written(tmp_path: Path) -> None:
    gaussians = some(10)
    gaussians.opacities[3] = 1e-3
    gaussians.opacities[5] = 1.0
    save_ply(tmp_path / "model.ply", gaussians)
    read = load_ply(tmp_path / "model.ply")
    assert len(read) == 9
    torch.testing.assert_close(read.means[3], gaussians.means[4])
    assert float(read.opacities[4]) == pytest.approx(1.0, abs=1e-5)


def test_other_tools_files_are_read(tmp_path: Path) -> None:
    """Columns in another order, higher harmonics and no normals, as other trainers write them."""
    names = ["opacity", "x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "f_rest_0", "rot_0", "rot_1", "rot_2",
             "rot_3", "scale_0", "scale_1", "scale_2"]  # fmt: skip
    row = [0.0, 1, 2, 3, 0.0, 9.0, -9.0, 7.0, 2.0, 0, 0, 0, 0.0, 0.0, 0.0]
    header = ["ply", "format binary_little_endian 1.0", "comment made elsewhere", "element vertex 1"]
    header += [f"property float {name}" for name in names] + ["end_header", ""]
    (tmp_path / "other.ply").write_bytes("\n".join(header).encode() + struct.pack(f"<{len(row)}f", *row))
    read = load_ply(tmp_path / "other.ply")
    assert read.means.tolist() == [[1, 2, 3]] and read.opacities.tolist() == [0.5]
    assert read.colors.tolist() == [[0.5, 1, 0]] and read.scales.tolist() == [[1, 1, 1]]
    assert read.quats.tolist() == [[1, 0, 0, 0]]


def _damaged(kind: str, data: bytes) -> bytes:
    if kind == "not a ply":
        return b"\x89PNG" + data
    if kind == "no header end":
        return data[:60]
    if kind == "cut by a row":
        return data[:-68]
    if kind == "cut by a byte":
        return data[:-1]
    if kind == "one byte more":
        return data + b"\0"
    if kind == "no vertices named":
        return data.replace(b"element vertex 20", b"element facets 20")
    if kind == "no number":
        return data.replace(b"element vertex 20", b"element vertex xx")
    if kind == "ascii":
        return data.replace(b"binary_little_endian", b"ascii")
    if kind == "big endian":
        return data.replace(b"binary_little_endian", b"binary_big_endian")
    if kind == "a double":
        return data.replace(b"property float nx", b"property double nx")
    return data.replace(b"scale_2", b"scale_9")


@pytest.mark.parametrize(
    "kind",
    ["not a ply", "no header end", "cut by a row", "cut by a byte", "one byte more", "no vertices named",
     "no number", "ascii", "big endian", "a double", "no scale_2", "empty", "missing", "a folder"],
)  # fmt: skip
def test_a_bad_ply_is_one_clear_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.ply"
    if kind == "a folder":
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind != "missing":
        save_ply(path, some())
        damaged = _damaged(kind, path.read_bytes())
        assert damaged != path.read_bytes()
        path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"model\.ply") as caught:
        load_ply(path)
    assert "\n" not in str(caught.value)


def _with_columns(path: Path, columns: dict[str, float | torch.Tensor]) -> Path:
    """`some()` as a PLY with these columns replaced or put at the end."""
    save_ply(path, some())
    header, body = path.read_bytes().split(b"end_header\n")
    names = [line.split()[-1].decode() for line in header.splitlines() if line.startswith(b"property")]
    table = torch.frombuffer(bytearray(body), dtype=torch.float32).reshape(20, -1)
    for name, value in columns.items():
        if name not in names:
            names.append(name)
            table = torch.cat([table, torch.zeros(20, 1)], 1)
        rows = slice(None) if isinstance(value, torch.Tensor) else slice(3, 5)
        table[rows, names.index(name)] = value
    lines = header.decode().splitlines()[:3] + [f"property float {name}" for name in names]
    path.write_bytes("\n".join([*lines, "end_header", ""]).encode() + table.numpy().tobytes())
    return path


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"y": float("nan")}, "means that are not finite"),
        ({"x": float("inf")}, "means that are not finite"),
        ({"scale_1": 200.0}, "scales that are not finite"),
        ({"opacity": float("nan")}, "opacities that are not finite"),
        ({f"rot_{i}": 0.0 for i in range(4)}, "rotations of length 0, or not finite"),
    ],
)
def test_numbers_that_cannot_be_drawn_are_refused(
    tmp_path: Path, columns: dict[str, float], said: str
) -> None:
    path = _with_columns(tmp_path / "model.ply", columns)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=rf"model\.ply has {said} .* in 2 of its 20 Gaussians"):
        load_ply(path)


def test_infinite_logits_are_opaque_or_nothing(tmp_path: Path) -> None:
    read = load_ply(_with_columns(tmp_path / "model.ply", {"opacity": float("inf")}))
    assert read.opacities[3:5].tolist() == [1, 1]
    read = load_ply(_with_columns(tmp_path / "model.ply", {"opacity": float("-inf")}))
    assert read.opacities[3:5].tolist() == [0, 0]


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_harmonics_are_read_colour_by_colour(tmp_path: Path, degree: int) -> None:
    count = (degree + 1) ** 2 - 1
    wanted = torch.randn(20, 3, count, generator=torch.Generator().manual_seed(degree))
    columns = {f"f_rest_{i}": wanted.flatten(1)[:, i] for i in range(3 * count)}
    found = load_harmonics(_with_columns(tmp_path / "model.ply", columns))  # type: ignore[arg-type]
    assert found is not None and found.shape == (20, count + 1, 3)
    assert torch.equal(found[:, 1:], wanted.transpose(1, 2))
    torch.testing.assert_close(found[:, 0] * SH_C0 + 0.5, some().colors)


def test_no_harmonics_and_odd_numbers_of_them(tmp_path: Path) -> None:
    save_ply(tmp_path / "model.ply", some())
    assert load_harmonics(tmp_path / "model.ply") is None
    zeros = {f"f_rest_{i}": torch.zeros(20) for i in range(9)}
    assert load_harmonics(_with_columns(tmp_path / "zeros.ply", zeros)) is None  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"has 2 properties f_rest_\*"):
        load_harmonics(_with_columns(tmp_path / "odd.ply", {"f_rest_0": 1.0, "f_rest_1": 1.0}))
    bad = zeros | {"f_rest_4": torch.full((20,), float("nan"))}
    with pytest.raises(UserError, match="harmonics that are not finite"):
        load_harmonics(_with_columns(tmp_path / "bad.ply", bad))  # type: ignore[arg-type]


def test_indexing_takes_every_member_along() -> None:
    gaussians = Gaussians(
        *(torch.stack([getattr(some(4, s), f.name) for s in range(3)]) for f in fields(Gaussians))
    )
    assert len(gaussians) == 4
    one = gaussians[1]
    for field in fields(one):
        assert torch.equal(getattr(one, field.name), getattr(some(4, 1), field.name))


def test_detach_stops_gradients() -> None:
    gaussians = some(3)
    gaussians.means.requires_grad_()
    assert gaussians.means.requires_grad and not gaussians.detach().means.requires_grad
