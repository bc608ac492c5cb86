"""Sources by configuration: bundled, furniture package, folder; quarantine, resume, command line."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh
import tyro
import yaml
from object_jobs import fetch_set

from aligncvc.config.objects import ObjectSet
from aligncvc.config.plan import Plan
from aligncvc.config.root import Config
from aligncvc.errors import UserError, cli
from aligncvc.files import PROJECT_ROOT, sha256_file
from aligncvc.objects import folder, sweethome3d
from aligncvc.objects.__main__ import fetch
from aligncvc.objects.curate import curate
from aligncvc.objects.folder import write_folder_list
from aligncvc.objects.listing import ObjectRow, read_list, read_manifest, slug, write_list
from aligncvc.objects.sweethome3d import Library, ar_members, parse_properties, unpack_deb

CATALOGUE = """# a comment
id=Test
name#1=Chair d\\u00e9co
category#1=Living room
model#1=/lib/cube/cube.obj
width#1=50
depth#1=100
height#1=50
creator#1=Ren\xe9
name#2=Chair d\\u00e9co
category#2=Living room
model#2=/lib/cube/cube.obj
width#2=50
height#2=100
depth#2=50
creator#2=Ren\xe9
modelRotation#2=1 0 0 0 0 1 0 -1 0
name#3=Lost
category#3=Living room
model#3=/lib/lost/lost.obj
width#3=10
depth#3=10
height#3=10
creator#3=Nobody
name#4=Stair
category#4=Staircases
model#4=/lib/cube/cube.obj
width#4=10
depth#4=10
height#4=10
creator#4=Nobody
"""


@pytest.fixture
def furniture(cube_obj, write_files) -> Path:
    """A folder with one small furniture library."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", CATALOGUE.encode("latin-1"))
        for name, data in cube_obj.items():
            archive.writestr(f"lib/cube/{name}", data)
    return write_files({"share/Scopia.sh3f": buffer.getvalue()}, "furniture")


@pytest.fixture
def deb(furniture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The library as a Debian package whose hash is the expected one."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        archive.add(furniture / "share/Scopia.sh3f", "./usr/share/sweethome3d/furniture/Scopia.sh3f")
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": data.getvalue()}
    out = b"!<arch>\n"
    for name, body in members.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(body):<10}`\n".encode() + body
        out += b"\n" * (len(body) % 2)
    path = tmp_path / "package.deb"
    path.write_bytes(out)
    monkeypatch.setattr(sweethome3d, "PACKAGE_SHA256", hashlib.sha256(out).hexdigest())
    return path


@pytest.fixture
def furniture_list(furniture: Path, tmp_path: Path) -> Path:
    """The list that curate writes for the small library, and one object that the library lacks."""
    (tmp_path / "scratch").mkdir()
    rows, reasons = curate(furniture, {"chair d co": "eval"}, tmp_path / "scratch")
    assert reasons == {"kept": 2, "unreadable": 1, "category": 1}
    assert [r.split for r in rows] == ["eval", "eval"]
    rows.append(ObjectRow("ghost", "Ghost", "", "Scopia/lib/none.obj", "", "CC-BY-3.0", "x", "train"))
    write_list(tmp_path / "list.tsv", rows)
    return tmp_path / "list.tsv"


def sh3(furniture_list: Path, path: object, **settings) -> ObjectSet:
    return ObjectSet(source="sweethome3d", list=str(furniture_list), path=path and str(path), **settings)


def test_catalogue_is_read(furniture):
    entries = Library(furniture / "share/Scopia.sh3f").entries
    first, second, lost, _ = (entry.row for entry in entries)
    assert (first.name, first.creator, first.licence) == ("Chair déco", "René", "CC-BY-3.0")
    assert (first.id, second.id, lost.id) == ("scopia-chair-d-co", "scopia-chair-d-co-2", "scopia-lost")
    assert first.source == "Scopia/lib/cube/cube.obj" and entries[0].size_cm == (50, 50, 100)
    assert slug("Teck  chair!") == "teck-chair"
    assert parse_properties("name#1 = A\\u20ac\nid=7\n") == {1: {"name": "A€"}}


def test_conversion_applies_size_and_rotation(furniture, tmp_path):
    library = Library(furniture / "share/Scopia.sh3f")
    for entry, extents in zip(library.entries[:2], ([0.5, 0.5, 1.0], [0.5, 1.0, 0.5]), strict=True):
        library.convert(entry, tmp_path / "one.glb")
        assert trimesh.load_scene(tmp_path / "one.glb").extents == pytest.approx(extents)


def test_folder_of_libraries(furniture, furniture_list, tmp_path):
    rows = fetch_set(sh3(furniture_list, furniture), tmp_path / "out", cache=tmp_path / "cache")
    assert [row.status for row in rows] == ["ok", "ok", "failed"], [row.reason for row in rows]
    listed = read_list(furniture_list)
    for row, known in zip(rows[:2], listed, strict=False):  # converted twice to the same bytes
        assert sha256_file(tmp_path / "out" / row.path) == row.sha256 == known.sha256
    assert "none of the furniture libraries" in rows[-1].reason
    assert read_manifest(tmp_path / "out/manifest.tsv") == rows


def test_deb_is_unpacked_without_dpkg(deb, furniture_list, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert [name for name, _ in ar_members(deb.read_bytes())] == [
        "debian-binary",
        "control.tar.xz",
        "data.tar.xz",
    ]
    rows = fetch_set(sh3(furniture_list, deb, split="eval"), tmp_path / "out", cache=tmp_path / "cache")
    assert [row.status for row in rows] == ["ok", "ok"]


def test_deb_from_an_address_survives_a_bad_server(deb, furniture_list, tmp_path, serve, policy):
    script = {"/p.deb": ["503", "truncate 500", "wrong"]}
    site = serve({"/p.deb": deb.read_bytes()}, script=script)
    settings = {"cache": tmp_path / "cache", "policy": policy}
    objects = sh3(furniture_list, f"{site.url}/p.deb", limit=1)
    assert fetch_set(objects, tmp_path / "out", **settings)[0].status == "ok"
    before = len(site.log)
    assert fetch_set(objects, tmp_path / "again", **settings)[0].status == "ok"
    assert len(site.log) == before  # the verified package is kept


def test_wrong_package_is_refused(deb, furniture_list, tmp_path, monkeypatch):
    deb.write_bytes(deb.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"sha256 \w{64}, expected"):
        unpack_deb(deb, tmp_path / "x")
    with pytest.raises(UserError, match="no furniture package"):
        fetch_set(sh3(furniture_list, tmp_path / "absent.deb"), tmp_path / "out", cache=tmp_path)
    with pytest.raises(UserError, match=r"no \.sh3f"):
        fetch_set(sh3(furniture_list, tmp_path / "scratch"), tmp_path / "out", cache=tmp_path)
    (tmp_path / "odd.deb").write_bytes(b"PK not a package")
    monkeypatch.setattr(sweethome3d, "PACKAGE_SHA256", sha256_file(tmp_path / "odd.deb"))
    with pytest.raises(UserError, match="not a Debian package"):
        unpack_deb(tmp_path / "odd.deb", tmp_path / "x")


def fake_apt(folder: Path, script: str) -> None:
    """An executable named apt-get that runs a shell script: the test double of the archive."""
    folder.mkdir()
    path = folder / "apt-get"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_apt_is_used_without_a_path(deb, furniture_list, tmp_path, monkeypatch):
    fake_apt(
        tmp_path / "bin", f'test "$1" = download || exit 9\ncp {deb} ./sweethome3d-furniture_1.8-1_all.deb'
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    rows = fetch_set(sh3(furniture_list, None, limit=1), tmp_path / "out", cache=tmp_path / "cache")
    assert rows[0].status == "ok"


def test_apt_absent_or_failing_is_one_sentence(furniture_list, tmp_path, monkeypatch):
    fake_apt(tmp_path / "bin", "echo E: no such package >&2; exit 100")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(UserError, match=r"E: no such package.*set `path`"):
        fetch_set(sh3(furniture_list, None), tmp_path / "out", cache=tmp_path / "cache")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"no apt-get; set `path`"):
        fetch_set(sh3(furniture_list, None), tmp_path / "out", cache=tmp_path / "cache")


def test_bundled_set_is_copied(tmp_path):
    objects = ObjectSet(list="config/objects/bundled.tsv", split="eval", limit=3)
    rows = fetch_set(objects, tmp_path / "out", cache=tmp_path)
    assert [row.status for row in rows] == ["ok"] * 3
    listed = {row.id: row for row in read_list(PROJECT_ROOT / "config/objects/bundled.tsv")}
    for row in rows:
        assert sha256_file(tmp_path / "out" / row.path) == row.sha256 == listed[row.id].sha256
        assert (row.licence, row.creator) == ("CC0-1.0", listed[row.id].creator)


@pytest.fixture
def meshes(cube_obj, write_files) -> Path:
    """A folder with one mesh of every kind and two bad ones."""
    box = trimesh.creation.box(extents=(1, 2, 3))
    files = {
        "a/box.glb": box.export(file_type="glb"),
        "box.ply": box.export(file_type="ply"),
        "box.stl": box.export(file_type="stl"),
        "My Box.obj": cube_obj["cube.obj"],
        "cube.mtl": cube_obj["cube.mtl"],
        "wood.png": cube_obj["wood.png"],
        "cut.glb": box.export(file_type="glb")[:-50],
        "empty.ply": b"ply\nformat ascii 1.0\nelement vertex 0\nend_header\n",
        "notes.txt": b"not a mesh",
    }
    gltf = trimesh.Scene([box]).export(file_type="gltf")
    files |= {name if name != "model.gltf" else "scene.gltf": data for name, data in gltf.items()}
    return write_files(files, "meshes")


def test_folder_of_ones_own_meshes(meshes, tmp_path):
    rows = {row.id: row for row in fetch_set(ObjectSet(source="folder", path=str(meshes)), tmp_path / "out")}
    assert {i for i, row in rows.items() if row.status == "ok"} == {
        "a-box",
        "box",
        "box-2",
        "my-box",
        "scene",
    }
    assert rows["a-box"].sha256 == sha256_file(meshes / "a/box.glb")
    for name in ("a-box", "box", "box-2", "scene"):
        scene = trimesh.load_scene(tmp_path / "out" / rows[name].path)
        assert scene.extents == pytest.approx([1, 2, 3])
        assert rows[name].licence == "user"
        assert str(tmp_path).encode() not in (tmp_path / "out" / rows[name].path).read_bytes()
    assert "cut short" in rows["cut"].reason and rows["cut"].path == ""
    assert rows["empty"].status == "failed" and rows["empty"].reason
    assert sorted(p.name for p in (tmp_path / "out").glob("*.glb")) == sorted(
        row.path for row in rows.values() if row.status == "ok"
    )


def test_folder_conversion_is_deterministic(meshes, tmp_path):
    first, second = (
        fetch_set(ObjectSet(source="folder", path=str(meshes)), tmp_path / o) for o in ("o1", "o2")
    )
    assert first == second


def test_folder_errors(tmp_path):
    for objects, reason in [
        (ObjectSet(source="folder"), "needs a `path`"),
        (ObjectSet(source="folder", path=str(tmp_path / "absent")), "should be a folder of meshes"),
        (ObjectSet(source="folder", path=str(tmp_path)), "no mesh"),
        (ObjectSet(source="bundled"), "needs a `list`"),
    ]:
        with pytest.raises(UserError, match=reason):
            fetch_set(objects, tmp_path / "out")


@pytest.fixture
def own_list(meshes, tmp_path) -> Path:
    """A list of one good mesh, one with another hash, one cut short and one that is missing."""
    good = sha256_file(meshes / "a/box.glb")
    cut = sha256_file(meshes / "cut.glb")
    rows = [
        ObjectRow(name, name, path, path, sha, "CC0-1.0", "me", "train")
        for name, path, sha in [
            ("good", "a/box.glb", good),
            ("changed", "a/box.glb", "0" * 64),
            ("cut", "cut.glb", cut),
            ("gone", "gone.glb", good),
        ]
    ]
    write_list(tmp_path / "own.tsv", rows)
    return tmp_path / "own.tsv"


@pytest.mark.parametrize("up", ["y", "z"])
def test_scanned_objects_in_gazebos_layout(cube_obj, write_files, tmp_path, up):
    """<name>/meshes/model.obj with its texture in ../materials/textures; the list says which axis is up."""
    folder = write_files({
        "Cube/meshes/model.obj": cube_obj["cube.obj"], "Cube/meshes/cube.mtl": cube_obj["cube.mtl"],
        "Cube/materials/textures/wood.png": cube_obj["wood.png"],
    }, "scanned")  # fmt: skip
    source = "Cube/meshes/model.obj"
    write_list(tmp_path / "l.tsv", [ObjectRow("Cube", "Cube", "", source, "", "CC-BY-4.0", "me", "eval", up)])
    objects = ObjectSet(source="folder", list=str(tmp_path / "l.tsv"), path=str(folder))
    (row,) = fetch_set(objects, tmp_path / "out")
    assert row.status == "ok", row.reason
    scene = trimesh.load_scene(tmp_path / "out/Cube.glb")
    assert scene.extents == pytest.approx([2, 4, 2] if up == "z" else [2, 2, 4])  # 4 long in z in the file
    images = [mesh.visual.material.baseColorTexture for mesh in scene.geometry.values()]
    assert [image.size for image in images if image is not None] == [(512, 384)], "at its own size"


@pytest.mark.parametrize("name", ["arrow.obj", "arrow.ply"])
@pytest.mark.parametrize(("up", "front", "tip"), [
    ("z", "", (-2, 0, 0)),  # glTF has x to the right, y up, z to the front
    ("z", "90", (0, 0, -2)), ("z", "180", (2, 0, 0)), ("z", "-90", (0, 0, 2)),
    ("y", "", (-2, 0, 0)), ("", "270", (0, 0, 2)),
])  # fmt: skip
def test_the_list_says_which_side_is_in_front(write_files, tmp_path, name, up, front, tip):
    """An arrow along -x: in both frames -x is at azimuth 270 (0 in front, counter-clockwise from above)."""
    arrow = trimesh.Trimesh([(-2, 0, 0), (0, 0.5, 0), (0, -0.5, 0.1), (0, 0, -0.1)], [[0, 1, 2], [0, 2, 3]])
    data = arrow.export(file_type=name[-3:])
    folder = write_files({name: data.encode() if isinstance(data, str) else data}, "own")
    write_list(tmp_path / "l.tsv", [ObjectRow("a", "a", "", name, "", "CC0-1.0", "me", "eval", up, front)])
    objects = ObjectSet(source="folder", list=str(tmp_path / "l.tsv"), path=str(folder))
    (row,) = fetch_set(objects, tmp_path / "out")
    assert row.status == "ok", row.reason
    points = trimesh.load_scene(tmp_path / "out/a.glb").to_geometry().vertices
    far = points - points.mean(0)
    direction = far[np.linalg.norm(far, axis=1).argmax()]
    assert direction / np.linalg.norm(direction) == pytest.approx(np.array(tip) / 2, abs=0.15)


def test_bad_objects_are_quarantined(own_list, meshes, tmp_path):
    objects = ObjectSet(source="folder", list=str(own_list), path=str(meshes))
    rows = fetch_set(objects, tmp_path / "out")
    assert [(row.id, row.status) for row in rows] == [
        ("good", "ok"), ("changed", "failed"), ("cut", "failed"), ("gone", "failed"),
    ]  # fmt: skip
    assert "differs from the list" in rows[1].reason
    assert "cut short" in rows[2].reason and "missing" in rows[3].reason
    assert [p.name for p in sorted((tmp_path / "out").iterdir())] == [
        ".aligncvc",
        "good.glb",
        "manifest.tsv",
        "manifest.tsv.provenance.json",
    ]


def test_second_run_keeps_good_files_and_the_users_and_replaces_damaged_ones(own_list, meshes, tmp_path):
    objects = ObjectSet(source="folder", list=str(own_list), path=str(meshes), limit=1)
    rows = fetch_set(objects, tmp_path / "out")
    good = tmp_path / "out/good.glb"
    stamp = good.stat().st_mtime_ns
    assert fetch_set(objects, tmp_path / "out") == rows and good.stat().st_mtime_ns == stamp
    good.write_bytes(good.read_bytes()[:-9])
    (tmp_path / "out/stranger.glb").write_bytes(b"old")
    assert fetch_set(objects, tmp_path / "out") == rows and sha256_file(good) == rows[0].sha256
    assert (tmp_path / "out/stranger.glb").read_bytes() == b"old"


def test_objects_of_an_earlier_list_are_removed(own_list, meshes, tmp_path):
    """Only those that this stage made; also when Snakemake has removed the manifest before the rerun."""
    fetch_set(ObjectSet(source="folder", path=str(meshes)), tmp_path / "out")
    (tmp_path / "out/manifest.tsv").unlink()
    (tmp_path / "out/mine.glb").write_bytes(b"mine")
    fetch_set(ObjectSet(source="folder", list=str(own_list), path=str(meshes), limit=1), tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").glob("*.glb")} == {"good.glb", "mine.glb"}


def test_a_folder_of_the_users_own_objects_is_left_alone(config, meshes, tmp_path):
    """The GLBs of another origin are there afterwards, byte for byte, and nothing else is."""
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("good.glb", "own.glb"):  # one with a listed object's name, one without
        (mine / name).write_bytes(b"the user's " + name.encode())
    before = {path.name: path.read_bytes() for path in mine.iterdir()}
    done = run_cli(config, "mine", mine)
    assert {path.name: path.read_bytes() for path in mine.iterdir()} == before
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "mine holds files that this program did not make (good.glb, own.glb); give --out" in done.stderr
    forced = run_cli(config, "mine", mine, "--force")
    assert forced.returncode == 0 and (mine / "own.glb").read_bytes() == before["own.glb"]
    assert sha256_file(mine / "good.glb") == sha256_file(meshes / "a/box.glb")


def test_folders_of_versions_without_marks_go_on(own_list, meshes, tmp_path):
    objects = ObjectSet(source="folder", list=str(own_list), path=str(meshes))
    rows = fetch_set(objects, tmp_path / "out")
    (tmp_path / "out/.aligncvc").unlink()
    assert fetch_set(objects, tmp_path / "out") == rows
    (tmp_path / "out/.aligncvc").unlink()
    (tmp_path / "out/manifest.tsv").unlink()  # by Snakemake, before the rerun
    assert fetch_set(objects, tmp_path / "out") == rows


def test_whatever_a_file_raises_it_fails_alone(meshes, tmp_path, monkeypatch):
    """A GLB whose faces name vertices that are not there, and a file that does not fit into memory."""
    box = trimesh.Scene(trimesh.creation.box()).export(file_type="glb")
    faces = trimesh.creation.box().faces.astype(np.uint32).tobytes()
    assert box.count(faces) == 1
    (meshes / "bad.glb").write_bytes(box.replace(faces, b"\xff\xff\0\0" + faces[4:]))

    def convert(path, out, turn=None):
        if path.suffix == ".stl":
            raise MemoryError
        convert_mesh(path, out, turn)

    convert_mesh = folder.convert_mesh
    monkeypatch.setattr(folder, "convert_mesh", convert)
    rows = fetch_set(ObjectSet(source="folder", path=str(meshes)), tmp_path / "out")
    failed = {row.id: row.reason for row in rows if row.status == "failed"}
    assert "bad.glb has faces of vertices that are not there; export it again" in failed["bad"]
    assert any("more memory than this machine has" in reason for reason in failed.values())
    assert any(row.status == "ok" for row in rows) and (tmp_path / "out/manifest.tsv").is_file()


def test_unknown_set_and_empty_split(own_list, meshes, tmp_path):
    with pytest.raises(UserError, match=r"no object set 'nope'; it has eval, furniture, train"):
        Plan(Config()).objects("nope")
    objects = ObjectSet(source="folder", list=str(own_list), path=str(meshes), split="eval")
    with pytest.raises(UserError, match="empty"):
        fetch_set(objects, tmp_path / "out")


def run_cli(config: Path, name: str, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "aligncvc.objects",
        f"--config={config}",
        f"--object-set={name}",
        f"--out={out}",
        *more,
    ]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT / "src")}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=out.parent)


@pytest.fixture
def config(own_list, meshes, tmp_path) -> Path:
    """A configuration with the list of good and bad objects, and a set without any good one."""
    write_list(tmp_path / "bad.tsv", [ObjectRow("x", "x", "no.glb", "no.glb", "", "user", "me", "train")])
    sets = {
        "mine": {"source": "folder", "list": str(own_list), "path": str(meshes)},
        "bad": {"source": "folder", "list": str(tmp_path / "bad.tsv"), "path": str(meshes)},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"objects": {"sets": sets}}))
    return tmp_path / "c.yaml"


def test_command_line(config, tmp_path):
    good = run_cli(config, "mine", tmp_path / "out")
    assert good.returncode == 0 and "1 of 4 objects" in good.stdout
    assert good.stderr.count("failed:") == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [("bad", "no object of the set 'bad' could be used"), ("other", "no object set 'other'")],
)
def test_command_line_errors(config, tmp_path, name, reason, monkeypatch, capsys):
    arguments = ["objects", "--config", str(config), "--object-set", name, "--out", str(tmp_path / "none")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as exit_:
        cli(lambda: tyro.cli(fetch))
    assert exit_.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ") and reason in last
    if name == "bad":
        assert read_manifest(tmp_path / "none/manifest.tsv")[0].status == "failed"


def test_nothing_in_a_folder_of_meshes_is_passed_over(meshes, tmp_path):
    """Hidden files are no objects; a format that is not read fails, unless a mesh stands for it."""
    box = (meshes / "a/box.glb").read_bytes()
    for name in ("._box.glb", "a/.DS_Store", "__MACOSX/._box.glb", ".trash/old.glb"):
        (meshes / name).parent.mkdir(exist_ok=True)
        (meshes / name).write_bytes(box)
    for name in ("lamp.fbx", "Table.USDZ", "a/box.blend"):
        (meshes / name).write_bytes(b"whatever")
    fetch_set(ObjectSet(source="folder", path=str(meshes)), tmp_path / "out")
    rows = {row.id: row for row in read_manifest(tmp_path / "out/manifest.tsv")}
    readable = {"a-box", "box", "box-2", "my-box", "scene", "cut", "empty"}
    assert rows.keys() == {*readable, "lamp", "table"}
    assert rows["a-box"].status == "ok" and rows["lamp"].status == rows["table"].status == "failed"
    assert rows["lamp"].reason.startswith("lamp.fbx is of a format that is not read here; convert it to GLB")


def test_names_that_are_no_utf8(meshes, tmp_path, capsys):
    shutil.copy(meshes / "a/box.glb", os.fsencode(meshes) + b"/J\xe9.glb")
    rows = fetch_set(ObjectSet(source="folder", path=str(meshes)), tmp_path / "out")
    assert {row.id: row.status for row in rows}["j"] == "ok"
    assert {row.id: row.source for row in read_manifest(tmp_path / "out/manifest.tsv")}["j"] == r"J\udce9.glb"
    with pytest.raises(UserError, match=r"which no list can name; rename it"):
        write_folder_list(meshes, tmp_path / "list.tsv")


@pytest.mark.parametrize("up", ["y", "z"])
def test_the_axis_that_points_up(tmp_path, up):
    """A tower, 3 high: of OBJ, PLY and STL it stands on its foot or lies, as the set says; a GLB is y up."""
    tower = trimesh.creation.box((1, 1, 3) if up == "z" else (1, 3, 1))
    for name in ("a.obj", "b.ply", "c.stl"):
        tower.export(tmp_path / name)
    trimesh.creation.box((1, 3, 1)).export(tmp_path / "d.glb")
    write_folder_list(tmp_path, tmp_path / "list.tsv", up=up)
    assert {r.source: (r.up, r.split) for r in read_list(tmp_path / "list.tsv")} == {
        "a.obj": (up, "eval"), "b.ply": (up, "eval"), "c.stl": (up, "eval"), "d.glb": ("", "eval"),
    }  # fmt: skip
    for number, how in enumerate(({"up": up}, {"list": str(tmp_path / "list.tsv")})):
        out = tmp_path.with_name(f"{tmp_path.name}-out{number}")
        rows = fetch_set(ObjectSet(source="folder", path=str(tmp_path), **how), out)
        assert [row.status for row in rows] == ["ok"] * 4
        for row in rows:
            assert trimesh.load_scene(out / row.path).extents.tolist() == pytest.approx([1, 3, 1])
