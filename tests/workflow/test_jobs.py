"""A job's settings file is all that it reads: what changes it, and what does not."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from aligncvc.config.jobs.base import Job
from aligncvc.config.jobs.sample import SampleJob
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT
from aligncvc.workflow.jobs import JobTable

LEDGER = PROJECT_ROOT / "config/checkpoints.yaml"
P = "wonder3d+lgm"
SECOND = "wonder3d+geolrm"
"""The demo's other pair, on which it runs aware_4 and aligncvc_4."""
TRAINED = {f"align/{P}/{run}" for run in ("soft", "hard", "both")} | {f"align/{SECOND}/aligned"}


def table(**data: Any) -> JobTable:
    return JobTable(data, "test")


def demo(*path: str, value: object) -> JobTable:
    """The demo's configuration with the value at a path replaced."""
    data = yaml.safe_load((PROJECT_ROOT / "config/config.yaml").read_text())
    inner = data
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner[path[-1]] = value
    return JobTable(data, "test")


@pytest.fixture(scope="module")
def base() -> JobTable:
    return JobTable(yaml.safe_load((PROJECT_ROOT / "config/config.yaml").read_text()), "test")


def changed(before: JobTable, after: JobTable) -> set[str]:
    """Keys of jobs in both whose settings differ, written with slashes."""
    return {
        "/".join(key)
        for key in before.jobs.keys() & after.jobs.keys()
        if before.jobs[key].hash != after.jobs[key].hash
    }


def test_a_methods_guidance_belongs_to_its_samples(base: JobTable) -> None:
    """The table must not state a configuration that its numbers were not made with."""
    found = changed(base, demo("sample", "methods", "aware_4", "guidance", value=2.0))
    assert found == {f"sample/{P}/aware_4", f"sample/{SECOND}/aware_4", "paper"}


def test_a_method_more_changes_no_other_methods_samples_or_scores(base: JobTable) -> None:
    """Names that predictions may not take are no setting of what is scored."""
    more = demo("sample", "methods", "mine", value={"feedback": "aligncvc", "steps": 3})
    assert changed(base, more) == {"paper"}
    assert f"evaluate/{P}/mine" in {"/".join(key) for key in more.jobs.keys() - base.jobs.keys()}


def test_timesteps_belong_to_alignment_and_to_the_methods_of_that_length(base: JobTable) -> None:
    found = changed(base, demo("sample", "timesteps", value={"4": [999, 749, 499, 249]}))
    of_four = ("aware_4", "soft_4", "hard_4", "short_4", "aligncvc_4")
    assert found == TRAINED | {f"sample/{P}/{method}" for method in of_four} | {
        f"sample/{SECOND}/{method}" for method in ("aware_4", "aligncvc_4")
    }


def test_the_generators_size_belongs_to_the_controls(base: JobTable) -> None:
    smaller = {"network": {"kind": "wonder3d", "size_px": 32}}
    found = changed(base, demo("pairs", P, "generator", value=smaller))
    assert {f"control/{name}" for name in ("gt", "jitter", "shuffled", "copy")} <= found
    assert not [key for key in found if key.startswith(("objects", "render", "evaluate"))]


def test_alignments_knobs_belong_to_alignment_alone(base: JobTable) -> None:
    assert changed(base, demo("align", "lambda_hard", value=0.5)) == TRAINED
    assert changed(base, demo("align", "runs", "soft", value={"hard": False, "steps": 3})) == {
        f"align/{P}/soft"
    }
    assert changed(base, demo("paper", "showcase", value=3)) == {"paper"}
    assert changed(base, demo("pretrain", "recon", value={"lr": 0.5})) == {
        f"pretrain/{name}" for name in ("demo-lgm", "demo-geolrm")
    }


def test_a_second_pair_leaves_the_first_ones_jobs_alone(base: JobTable) -> None:
    other = {"generator": "demo-wonder3d", "reconstructor": {"network": {"kind": "lgm", "heads": 1}}}
    both = demo("pairs", "second", value=other)
    assert changed(base, both) == {"paper"}
    assert ("sample", P, "aware_4") in both.jobs and ("sample", "second", "aware_4") in both.jobs
    assert len(set(both.records([*both.rows, *both.controls]))) == 15 + 2 + 2 + 4, "no file is shared"
    assert ("align", "second", "aligned") in both.jobs, "what ships for one pair is trained for another"
    assert ("align", P, "aligned") not in both.jobs


def test_methods_may_name_their_pairs() -> None:
    data = yaml.safe_load((PROJECT_ROOT / "config/smoke.yaml").read_text())
    assert len(JobTable(data, "t").rows) == 6
    data["sample"]["methods"]["two_stage_2"]["pairs"] = ["ring+lgm-head"]
    assert (P, "two_stage_2") not in JobTable(data, "t").rows


def test_weights_belong_to_the_jobs_that_load_them(base: JobTable, tmp_path: Path) -> None:
    """Another entry of the ledger makes nothing stale; other bytes for one in use do."""
    ledger = yaml.safe_load(LEDGER.read_text())

    def with_ledger() -> JobTable:
        (tmp_path / "ledger.yaml").write_text(yaml.safe_dump(ledger))
        return table(checkpoints={"ledger": str(tmp_path / "ledger.yaml")})

    before = with_ledger()
    ledger["checkpoints"]["mine"] = {**ledger["checkpoints"]["demo-vae"], "what": "another"}
    ledger["checkpoints"]["demo-vae"]["what"] = "other words"
    ledger["models"]["mine"] = ledger["models"]["lgm-big"]
    assert changed(before, with_ledger()) == set()
    ledger["checkpoints"]["demo-aligned-recon"]["sha256"] = "0" * 64
    assert changed(before, with_ledger()) == {f"sample/{P}/aligncvc_{k}" for k in (1, 2, 4, 8)}


def test_access_to_weights_is_whole_in_every_job_that_loads_some() -> None:
    terms = {"offline": False, "accept_licences": ["AGPL-3.0"], "ledger": str(LEDGER)}
    for key, job in table(checkpoints=terms).jobs.items():
        if hasattr(job, "checkpoints"):
            assert job.checkpoints.model_dump() == terms, key
        else:
            assert key[0] in ("objects", "render", "discrimination", "paper")


def test_the_judge_decides_where_records_lie(base: JobTable, tmp_path: Path) -> None:
    text = (PROJECT_ROOT / "config/protocols/demo.yaml").read_text()
    mine = tmp_path / "mine.yaml"
    mine.write_text(text.replace("judge: demo-lgm", "judge: {network: {kind: lgm, heads: 1}}"))
    other = table(evaluate={"protocol": str(mine)})
    assert other.metrics.rpartition("-")[2] != base.metrics.rpartition("-")[2]


def test_settings_files_are_written_once_and_read_back(base: JobTable, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    base.write()
    files = sorted(Path("results/settings").rglob("*.json"))
    assert len(files) == len(base.jobs)
    path = Path(f"results/settings/sample/{P}/aware_4.json")
    job = base.jobs["sample", P, "aware_4"]
    assert SampleJob.read(path) == job and SampleJob.read(path).hash == job.hash
    first = path.stat().st_mtime_ns
    base.write()
    assert path.stat().st_mtime_ns == first, "a file that says the same is left alone"


@pytest.mark.parametrize("content", ["{", '{"seed": 0, "sed": 1}', '{"seed": 0}'])
def test_other_files_are_no_settings(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UserError, match="is no settings file of this stage") as caught:
        SampleJob.read(tmp_path / "x.json")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no settings can be read from"):
        SampleJob.read(tmp_path / "none.json")


def test_a_stage_can_read_declared_keys_only() -> None:
    """A job is frozen and closed: a key that its model lacks does not exist."""
    job = table().jobs["sample", P, "aware_4"]
    for key in ("align", "render", "evaluate", "sample"):
        with pytest.raises(AttributeError):
            getattr(job, key)
    with pytest.raises(ValueError, match="frozen"):
        job.steps = 3  # type: ignore[attr-defined]


def test_every_setting_of_a_job_counts(base: JobTable) -> None:
    """What is in the file is in the hash."""
    for job in base.jobs.values():
        data = json.loads(job.text)
        data["seed"] += 1
        assert Job.hash.fget(type(job).model_validate(data)) != job.hash  # type: ignore[attr-defined]


def test_experiments_are_prefixes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = table(experiment="mine")
    mine.write()
    assert mine.metrics.startswith("results/mine/metrics/demo-")
    assert (tmp_path / "results/mine/settings/paper.json").is_file()
    assert not (tmp_path / "results/settings").exists()


def test_content_of_a_folder_of_meshes_follows_every_file(tmp_path: Path) -> None:
    """One more, one less, another in the place of one; of a set without files nothing is looked at."""
    sets = {"mine": {"source": "folder", "path": str(tmp_path)}, "other": {"path": str(tmp_path)}}
    jobs, at = table(objects={"sets": sets}), SimpleNamespace(set="mine")
    seen = [jobs.set_content(at)]
    for name, text in (("a.obj", "v"), ("a.obj", "v 0"), ("deep/skin.png", "x")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        seen.append(jobs.set_content(at))
    (tmp_path / "a.obj").unlink()
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    seen.append(jobs.set_content(at))
    assert len(set(seen)) == len(seen) and jobs.set_content(at) == seen[-1]
    assert jobs.set_content(SimpleNamespace(set="other")) == ""


def own_list(folder: Path, *paths: str, sha256: str = "") -> str:
    """A list of files in `folder`, named o0, o1 and so on."""
    rows = [f"o{n}\t{path}\t{path}\t{sha256}\tuser\tme" for n, path in enumerate(paths)]
    (folder / "list.tsv").write_text("\n".join(["id\tpath\tsource\tsha256\tlicence\tcreator", *rows, ""]))
    return str(folder / "list.tsv")


@pytest.mark.parametrize(
    ("source", "path", "file"),
    [
        ("bundled", None, "{t}/own.glb"),  # listed without a sha256
        ("folder", "meshes", "look/skin.png"),  # outside, named by an MTL file
        ("gobjaverse", "data", "data/own/campos_512_v4/00000/00000.png"),
        ("sweethome3d", "furniture", "furniture/mine.sh3f"),
        ("sweethome3d", "furniture.deb", "furniture.deb"),
    ],
)
def test_whatever_a_set_reads_counts(source: str, path: str | None, file: str, tmp_path: Path) -> None:
    name = "own" if source == "gobjaverse" else str(tmp_path / "own.glb")
    mine = {"source": source, "path": path and str(tmp_path / path)}
    mine |= {} if source == "folder" else {"list": own_list(tmp_path, name)}
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes/a.mtl").write_text("newmtl a\nmap_Kd -s 1 1 1 ..\\look\\skin.png\n")
    jobs, at = table(objects={"sets": {"mine": mine}}), SimpleNamespace(set="mine")
    before, read = jobs.set_content(at), tmp_path / file.format(t=tmp_path)
    read.parent.mkdir(parents=True, exist_ok=True)
    read.write_text("1")
    assert jobs.set_content(at) != before
    assert jobs.set_content(at) == jobs.set_content(at)


def test_files_whose_bytes_the_list_says_need_no_look(tmp_path: Path) -> None:
    """Their dates differ from checkout to checkout."""
    (tmp_path / "own.glb").write_text("1")
    listed = own_list(tmp_path, str(tmp_path / "own.glb"), sha256="0" * 64)
    jobs = table(objects={"sets": {"mine": {"list": listed}}})
    assert jobs.set_content(SimpleNamespace(set="mine")) == ""


def test_a_shard_of_own_meshes_follows_its_files(tmp_path: Path) -> None:
    for name in ("a.glb", "b/b.obj", "b/skin.png", "c.glb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    mine = {
        "source": "folder",
        "path": str(tmp_path),
        "list": own_list(tmp_path, "a.glb", "b/b.obj", "c.glb"),
    }

    def contents() -> list[str]:
        jobs = table(
            objects={"shard_size": 1, "sets": {"train": mine, "eval": {}}}, pretrain={"sets": ["train"]}
        )
        return [jobs.shard_content(SimpleNamespace(sharded="train", number=f"0000{n}")) for n in range(3)]

    before = contents()
    (tmp_path / "b/skin.png").write_text("22")
    assert [a == b for a, b in zip(before, contents(), strict=True)] == [True, False, True]
    (tmp_path / "c.glb").write_text("22")
    assert [a == b for a, b in zip(before, contents(), strict=True)] == [True, False, False]


def test_a_sharded_set_has_one_settings_file_and_a_key_for_each_shard(tmp_path: Path) -> None:
    """The evaluation set and sets without a list stay one job each."""
    listed = tmp_path / "list.tsv"
    lines = [f"o{n}\tsource{n}\tCC0-1.0\tme" for n in range(7)]
    listed.write_text("\n".join(["id\tsource\tlicence\tcreator", *lines, ""]))
    mine = {"source": "folder", "path": str(tmp_path), "list": str(listed)}
    sets = {"train": mine, "eval": {}, "loose": {"source": "folder", "path": str(tmp_path)}}

    def cut(size: int = 3, **render: Any) -> JobTable:
        pretrain = {"sets": ["train"]}
        return table(objects={"shard_size": size, "sets": sets}, render=render, pretrain=pretrain)

    jobs, at = cut(), SimpleNamespace(sharded="train", number="00002")
    assert (jobs.sharded, jobs.whole) == (["train"], ["eval", "loose"])
    assert ("shard", "train") in jobs.jobs and ("render", "train") not in jobs.jobs
    assert jobs.shards(at)[-1] == "results/renders/train/shards/00002/index.tsv" and len(jobs.shards(at)) == 6
    assert str(listed) not in jobs.jobs["paper",].object_lists, "the report does not read the whole list"
    before = jobs.shard_keys("train")
    assert jobs.shard_key(at) == before[2] and len(set(before)) == 3
    assert cut(timeout_seconds=7.0, max_failure_rate=0.5).shard_keys("train") == before
    assert not set(cut(samples=5).shard_keys("train")) & set(before)
    listed.write_text(listed.read_text() + "o7\tsource7\tCC0-1.0\tme\n")
    assert cut().shard_keys("train")[:2] == before[:2] != cut().shard_keys("train")[1:]
    assert cut(8).shard_keys_hash(at) != cut().shard_keys_hash(at)
