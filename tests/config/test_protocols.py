"""Protocols: the hash follows what is measured and nothing else; mistakes are one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from aligncvc.config import reference as pages
from aligncvc.config.__main__ import as_yaml
from aligncvc.config.jobs.render import SCENE_VERSION, RenderJob
from aligncvc.config.objects import Render
from aligncvc.config.pairing import judged
from aligncvc.config.plan import Plan
from aligncvc.config.pretrain_job import pretrain_job
from aligncvc.config.protocols import (
    FOLDER,
    Protocol,
    differences,
    load_protocol,
    parse_protocol,
    presets,
)
from aligncvc.config.root import Config, load_config, parse_config
from aligncvc.errors import UserError
from aligncvc.evaluate.ground_truth import METRIC_VERSION, require_supported
from aligncvc.files import PROJECT_ROOT
from aligncvc.objects.listing import read_list
from aligncvc.render.jobs import require_scene

SCANS = ["ycb63", "gso109-thumbnails", "gso109-fuel"]
PUBLISHED = ["gso-published", "gso-published-side"]
PRESETS = ["demo", "demo-256", "smoke", "verdict", "pairs", "gso109-verdict", *SCANS]
PRESETS += ["gso30-syncdreamer", "gso100-orbit16", "gobjaverse-heldout-24", *PUBLISHED]


def demo() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "demo.yaml").read_text())


def parsed(data: Mapping[str, Any]) -> Protocol:
    return parse_protocol(dict(data), "mine", "mine.yaml")


def changed(data: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy with the value at a dotted path replaced."""
    copy = json.loads(json.dumps(data))
    *parents, last = path.split(".")
    inner = copy
    for key in parents:
        inner = inner[key]
    inner[last] = value
    return copy


def leaves(data: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from leaves(value, f"{path}.{key}" if path else key)
    else:
        yield path, data


OTHER = {
    "protocol_class": "another", "versions.scene": 3, "versions.metrics": 3, "objects.split": "all",
    "objects.limit": 3,
    "render.size_px": 128, "render.elevation_deg": 11, "render.distance": 3.1, "render.fov_y_deg": 40,
    "render.ring_views": 8, "render.rig_views": 8, "render.samples": 17, "render.denoise": True,
    "render.normalisation": "unit-cube", "render.light": "uniform", "render.crop": "keep", "background": 0.5,
    "resize": "area", "views.scored": "held_out", "views.input_view": False, "seeds": [1],
    "metrics.ssim.window": "uniform-7", "metrics.lpips.nets": ["vgg"], "metrics.dists.every": 3,
    "metrics.distribution.features": ["lite0", "lite2"], "metrics.geometry.points": 500,
    "metrics.geometry.thresholds": [0.1],
    "metrics.geometry.alignment": ["none"], "metrics.geometry.chamfer": ["sum"], "metrics.geometry.grid": 32,
    "metrics.geometry.voxel": 0.05, "metrics.consistency.tsed.min_matches": 5,
    "metrics.consistency.tsed.max_px": 4.0, "metrics.consistency.tsed.image_px": 512,
    "metrics.consistency.halves": "even-odd",
}  # fmt: skip
"""Another legal value of every setting that has one."""

SINGLE = {
    "metrics.psnr.data_range", "metrics.psnr.cap_db", "metrics.psnr.averaging", "metrics.ssim.data_range",
    "metrics.lpips.version", "metrics.consistency.between", "alpha",
}  # fmt: skip
"""Conventions that this code has in one form only; another is refused."""


@pytest.mark.parametrize("path", sorted(OTHER))
def test_every_setting_changes_the_hash(path: str) -> None:
    base, data = parsed(demo()), changed(demo(), path, OTHER[path])
    if path == "views.scored":
        data["views"]["input_view"] = False
    other = parsed(data)
    assert other.hash != base.hash
    assert any(line.startswith(path) for line in differences(base, other))


def test_no_setting_is_left_out() -> None:
    """Whatever the resolved demo holds is hashed (and tested above), except the words about it."""
    found = {path for path, _ in leaves(load_protocol("demo").content)}
    assert found == set(OTHER) | SINGLE | {"objects.sha256", "judge_facts"}


def test_pictures_count_if_there_are_any() -> None:
    """Protocols from before there were pictures keep their hashes; which one is the input is hashed."""
    assert "pictures" not in json.dumps(load_protocol("demo").content)
    one, other = load_protocol("gso-published"), load_protocol("gso-published-side")
    assert differences(one, other) == ["render.pictures.input: 0 / 2"] and one.hash != other.hash
    assert other.render.pictures is not None and other.render.pictures.order == [2, 0, 1, 3, 4]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("render.ring_views", 8, "ring_views must be the number of pictures.positions"),
        ("render.pictures.input", 5, "input is 5 and positions are 5, counted from 0"),
        (
            "render.pictures.positions",
            [[0, 0, 4]] * 5,
            "farther than 1 from the origin and not above or below",
        ),
        ("render.pictures.positions", [[4, 0]] * 5, "no lists of three numbers"),
    ],
)
def test_impossible_pictures_are_refused(path: str, value: object, words: str) -> None:
    data = yaml.safe_load((FOLDER / "gso-published.yaml").read_text())
    with pytest.raises(UserError, match=words) as found:
        parsed(changed(data, path, value))
    assert "\n" not in str(found.value)


MATCHER = "metrics.consistency.tsed.matcher"


def test_the_matcher_counts_unless_it_is_sift() -> None:
    """Protocols from before there was a choice keep their hashes, and their records."""
    before = yaml.safe_load((FOLDER / "demo-256.yaml").read_text())
    base, same, other = (
        parsed(before),
        *(parsed(changed(before, MATCHER, m)) for m in ("sift", "disk_lightglue")),
    )
    assert "matcher" not in json.dumps(base.content) and base.hash == same.hash
    assert base.hash != other.hash
    assert differences(base, other) == [f"{MATCHER}: None / disk_lightglue"]


@pytest.mark.parametrize(
    ("small", "px"), [("render.size_px", 255), ("metrics.consistency.tsed.image_px", 128)]
)
def test_learned_matches_are_refused_for_small_views(small: str, px: int) -> None:
    large = changed(yaml.safe_load((FOLDER / "demo-256.yaml").read_text()), MATCHER, "disk_lightglue")
    named = small.removeprefix("metrics.consistency.tsed.")
    sentence = f"needs views of 256 px or more and {named} is {px}; raise it"
    with pytest.raises(UserError, match=sentence) as found:
        parsed(changed(large, small, px))
    assert str(found.value).startswith("protocol mine.yaml is not valid") and "\n" not in str(found.value)


def test_settings_that_a_kind_has_added_since_count_when_they_are_set() -> None:
    demo = load_protocol("demo")

    def hash_with(**settings: object) -> str:
        judge = {"network": {"kind": "lgm", **settings}}
        return judged(demo.model_copy(update={"judge": judge})).hash

    assert hash_with() == hash_with(sees="views", clamped=True)
    assert len({hash_with(), hash_with(sees="time"), hash_with(clamped=False)}) == 3


def test_the_judge_is_part_of_the_protocol() -> None:
    """Scores by two reconstructors are two protocols: by another id, other weights or another network."""
    demo_judge = judged(load_protocol("demo"))
    assert demo_judge.judge_facts is not None and demo_judge.judge_facts["weights"]["recon"]
    tiny = {"network": {"kind": "lgm", "heads": 1}}
    others = [judged(parsed(changed(demo(), "judge", value))) for value in ("lgm-big", tiny)]
    assert len({p.hash for p in (demo_judge, *others)}) == 3
    assert any("judge_facts" in line for line in differences(demo_judge, others[0]))
    same = judged(parsed(changed(demo(), "judge", {"network": {"kind": "lgm"}})))
    assert same.judge_facts is not None and same.judge_facts["weights"] == {}
    assert same.hash != demo_judge.hash, "random weights are another judge"


@pytest.mark.parametrize("path", sorted(SINGLE))
def test_conventions_without_code_are_refused(path: str) -> None:
    with pytest.raises(UserError, match=path):
        parsed(changed(demo(), path, "other"))


def test_the_hash_ignores_order_words_and_spelling(tmp_path: Path) -> None:
    base = load_protocol("demo")
    turned = {key: dict(reversed(list(v.items()))) if isinstance(v, dict) else v
              for key, v in reversed(list(demo().items()))}  # fmt: skip
    assert parsed(turned).hash == base.hash
    assert parsed({**demo(), "about": "other words", "background": 1}).hash == base.hash
    moved = tmp_path / "list.tsv"
    moved.write_bytes((PROJECT_ROOT / base.objects.list).read_bytes())
    assert parsed(changed(demo(), "objects.list", str(moved))).hash == base.hash
    assert differences(parsed(demo()), base) == []  # a name is no difference


def test_the_hash_follows_the_lists_content(tmp_path: Path) -> None:
    path = tmp_path / "list.tsv"
    data = changed(demo(), "objects.list", str(path))
    path.write_text("id\tsource\tlicence\tcreator\na\ta\tCC0\tme\n")
    first = parsed(data)
    path.write_text("id\tsource\tlicence\tcreator\nb\tb\tCC0\tme\n")
    second = parsed(data)
    assert first.hash != second.hash
    assert [line.split(":")[0] for line in differences(first, second)] == ["objects.sha256"]
    with pytest.raises(UserError, match="restore the list or write a protocol of your own"):
        parsed(changed(data, "objects.sha256", first.objects.sha256))


@pytest.mark.parametrize(("path", "value", "words"), [
    ("renders", {}, "renders: Extra inputs"),
    ("metrics.lpips.net", "vgg", "metrics.lpips.net: Extra inputs"),
    ("name", "mine", "named by its file"),
    ("render.ring_views", 10, "rig_views must divide ring_views"),
    ("seeds", [], "seeds"),
    ("seeds", [1, 1], "name one twice"),
    ("views", {"scored": "held_out"}, "set input_view: false"),
    ("objects.list", "config/objects/none.tsv", "does not exist"),
])  # fmt: skip
def test_mistakes_are_one_sentence(path: str, value: object, words: str) -> None:
    with pytest.raises(UserError) as caught:
        parsed(changed(demo(), path, value))
    assert words in str(caught.value) and "mine.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_are_no_protocol(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no protocol 'nix'.*choose one of demo"):
        load_protocol("nix")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1")
    with pytest.raises(UserError, match="not YAML"):
        load_protocol(broken)
    broken.write_bytes("about: é".encode("latin-1"))
    with pytest.raises(UserError, match="it is not UTF-8; save it as UTF-8"):
        load_protocol(broken)
    broken.write_text("- a")
    with pytest.raises(UserError, match="no mapping"):
        load_protocol(broken)


def test_presets_load_and_write_themselves_out(tmp_path: Path) -> None:
    assert set(presets()) == set(PRESETS)
    protocols = [load_protocol(name) for name in presets()]
    assert len({protocol.hash for protocol in protocols}) == len(protocols)
    for protocol in protocols:
        assert protocol.slug == f"{protocol.name}-{protocol.hash}" and len(protocol.hash) == 12
        path = tmp_path / f"{protocol.name}.yaml"
        path.write_text(as_yaml(protocol, exclude={"name"}))
        assert load_protocol(path) == protocol
        assert protocol.resolved["hash"] == protocol.hash
        require_supported(protocol)
        require_scene(RenderJob(set="eval", render=Render(), scene_version=protocol.versions.scene))


def test_other_versions_of_the_code_are_refused() -> None:
    assert (load_protocol("demo").versions.scene, load_protocol("demo").versions.metrics) == (
        SCENE_VERSION, METRIC_VERSION)  # fmt: skip
    with pytest.raises(UserError, match="this code has version"):
        require_supported(parsed(changed(demo(), "versions.metrics", METRIC_VERSION + 1)))
    with pytest.raises(UserError, match="this code renders version"):
        require_scene(RenderJob(set="eval", render=Render(), scene_version=SCENE_VERSION + 1))


def test_which_views_count() -> None:
    rig = [0, 4, 8, 12]
    views = load_protocol("demo").views
    assert views.indices(16, rig) == list(range(16))
    assert views.model_copy(update={"input_view": False}).indices(16, rig) == list(range(1, 16))
    held_out = views.model_copy(update={"scored": "held_out", "input_view": False})
    assert held_out.indices(16, rig) == [i for i in range(16) if i not in rig]


def test_the_demo_is_rendered_as_its_models_are_trained() -> None:
    """Sets that feed training and the evaluation set share every setting of the scene."""
    config = Config()
    assert config.rendering("train") == config.rendering("eval") == config.render
    assert config.protocol.seeds == [0]
    chosen = config.object_set("eval")
    assert (chosen.list, chosen.split, chosen.limit) == ("config/objects/bundled.tsv", "eval", None)


def test_a_second_protocol_of_the_bundled_objects() -> None:
    """The demo's objects, cameras and light; larger, so other numbers."""
    small, large = load_protocol("demo"), load_protocol("demo-256")
    assert large.objects == small.objects and large.hash != small.hash
    assert large.render.size_px == 256 and large.resize == "area"
    poses = {"elevation_deg", "distance", "fov_y_deg", "ring_views", "rig_views", "normalisation", "light"}
    assert large.render.model_dump(include=poses) == small.render.model_dump(include=poses)


def test_syncdreamers_preset_compares_all_its_views() -> None:
    """Predicted views at each of its sixteen poses, by PSNR, SSIM and both forms of LPIPS."""
    protocol = load_protocol("gso30-syncdreamer")
    assert protocol.render.rig_indices == list(range(16))
    assert set(protocol.metrics.lpips.nets) == {"alex", "vgg"}


def test_the_protocol_renders_the_evaluation_set_alone() -> None:
    config = load_config(PROJECT_ROOT / "config/smoke.yaml").model_copy(
        update={"evaluate": Config().evaluate.model_copy(update={"protocol": "gso30-syncdreamer"})}
    )
    render = config.rendering("eval")
    assert (render.size_px, render.normalisation, render.light) == (256, "unit-cube", "uniform")
    assert render.timeout_seconds == config.render.timeout_seconds
    assert config.rendering("train").size_px == 64
    with pytest.raises(UserError, match=r"size_px 256 and the pairs .* render\.size_px 64"):
        _ = Plan(config).pairs


@pytest.mark.parametrize(
    "name",
    ["config.yaml", "demo-256.yaml", "smoke.yaml", "paper.yaml", "packs.yaml", "pairs.yaml"],
)
def test_configurations_fit_their_protocols(name: str) -> None:
    assert Plan(load_config(PROJECT_ROOT / "config" / name)).pairs


@pytest.mark.parametrize("name", [*PRESETS[-5:], *SCANS])
def test_objects_that_do_not_ship_are_explained(name: str) -> None:
    config = parse_config({"evaluate": {"protocol": name}}, "t")
    with pytest.raises(UserError, match=r"do not ship with the repository: .*objects\.sets\.eval"):
        Plan(config).objects("eval")
    assert Plan(config).objects("train").objects.list == "config/objects/bundled.tsv"


@pytest.mark.parametrize(("name", "count"), zip(SCANS, (63, 109, 109), strict=True))
def test_scans_are_rendered_as_the_demo_is_and_the_distinct_ones_come_first(name: str, count: int) -> None:
    protocol = load_protocol(name)
    assert protocol.render == load_protocol("demo").render and protocol.objects.limit == count
    config = load_config(PROJECT_ROOT / "config/packs.yaml", [f"evaluate.protocol={name}"])
    job = Plan(config).objects("eval").objects
    assert (job.source, job.list, job.limit, job.path) == ("published", protocol.objects.list, count, None)


def test_packs_and_furniture_are_trained_on_together_and_scans_never() -> None:
    plan = Plan(load_config(PROJECT_ROOT / "config/packs.yaml"))
    lists = ["config/objects/furniture.tsv", "config/objects/cc0-packs.tsv"]
    assert pretrain_job(plan, "demo-videomv").object_lists == lists and plan.protocol.name == "ycb63"
    sides = [(row.id, row.split) for path in lists for row in read_list(PROJECT_ROOT / path)]
    assert len({name for name, _ in sides}) == len(sides), "ids are told apart"
    assert [sum(split == side for _, split in sides) for side in ("train", "eval")] == [580 + 1216, 79 + 130]
    nowhere = {"pretrain": {"sets": ["furniture", "eval"]}}
    with pytest.raises(UserError, match="the set 'eval', which pretraining uses, has no list"):
        pretrain_job(Plan(parse_config(nowhere, "t")), "vae")


@pytest.mark.parametrize(("name", "count"), [("gso30-syncdreamer", 30), ("gso100-orbit16", 100)])
def test_lists_of_scanned_objects(name: str, count: int) -> None:
    rows = read_list(PROJECT_ROOT / load_protocol(name).objects.list)
    assert len(rows) == count
    assert all(row.licence == "CC-BY-4.0" and row.source == f"{row.id}/meshes/model.obj" for row in rows)


def test_the_published_scans_are_those_with_thumbnail_textures() -> None:
    """The same 109 objects in the same order, so that the two tests of real scans stand side by side."""
    rows = read_list(PROJECT_ROOT / load_protocol("gso-published").objects.list)
    others = read_list(PROJECT_ROOT / "config/objects/gso130.tsv")[:109]
    assert [row.id for row in rows] == [row.id for row in others]
    assert {(row.licence, row.creator) for row in rows} == {("CC-BY-4.0", "Google LLC")}
    assert all(len(row.sha256) == 64 and row.path == f"gso139/{row.id}" for row in rows)


def test_the_table_of_the_docs_is_up_to_date() -> None:
    assert pages.protocols_page() == pages.PROTOCOLS.read_text(), "run python -m aligncvc.config reference"


def test_command_line(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "aligncvc.config", *arguments]
        environment = {"PYTHONPATH": str(PROJECT_ROOT / "src"), "PATH": ""}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, text=True, capture_output=True, check=False
        )

    assert all(judged(load_protocol(name)).slug in run("protocols").stdout for name in presets())
    shown = run("protocol", "demo")
    assert shown.stdout.startswith(f"# {judged(load_protocol('demo')).slug}\n")
    (tmp_path / "mine.yaml").write_text(shown.stdout.replace("background: 1.0", "background: 0.5"))
    found = run("compare", "demo", "mine.yaml")
    assert found.returncode == 1 and "background: 1.0 / 0.5" in found.stdout
    (tmp_path / "mine.yaml").write_text(shown.stdout)
    assert run("compare", "demo", "mine.yaml").returncode == 0
    wrong = run("protocol", "nix")
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: there is no protocol 'nix'")
