"""The graph of every configuration, and the sentence for a wrong one."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from workflow_copy import checkpoint_mark, copy_checkout, jobs, snakemake

from aligncvc.config.pairing import judged
from aligncvc.config.protocols import load_protocol
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT
from aligncvc.workflow.jobs import JobTable


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("fresh") / "checkout")


def test_demo_graph(fresh: Path) -> None:
    assert jobs(snakemake(fresh, "-n").stdout) == {
        "checkpoints": 9, "objects": 2, "renders": 2, "align": 4, "sample": 17,
        "control": 4, "evaluate": 21, "discrimination": 1, "table": 2, "costs": 1, "reported": 1,
        "figures": 1, "report": 1, "all": 1,
    }  # fmt: skip


def test_one_table_needs_only_its_methods(fresh: Path) -> None:
    found = jobs(snakemake(fresh, "-n", "results/table1.csv").stdout)
    # the first pair's aligned weights ship with the repository: nothing is trained for its row
    assert found["align"] == 1 and found["sample"] == 8 and found["table"] == 1


@pytest.mark.parametrize("name", ["paper", "smoke"])
def test_other_configurations_replace_the_demo(fresh: Path, name: str) -> None:
    output = snakemake(fresh, "-n", "--configfile", f"config/{name}.yaml").stdout
    found = jobs(output)
    assert {"objects", "renders", "align", "sample", "evaluate", "table", "figures", "report"} <= found.keys()
    assert ("two_stage_50" in output) == (name == "paper")


def test_records_lie_under_their_protocol(fresh: Path) -> None:
    output = snakemake(fresh, "-n", "results/table1.csv").stdout
    assert f"results/metrics/{judged(load_protocol('demo')).slug}/wonder3d+lgm/aware_4.csv" in output
    assert f"results/metrics/{judged(load_protocol('demo')).slug}/control/gt.csv" in output


@pytest.mark.parametrize(("protocol", "words"), [
    ("gso30-syncdreamer", "do not ship with the repository"),
    ("nowhere", "there is no protocol 'nowhere'"),
])  # fmt: skip
def test_a_protocol_that_cannot_be_used_is_one_sentence(fresh: Path, protocol: str, words: str) -> None:
    result = snakemake(fresh, "-n", "--config", f"evaluate={{protocol: {protocol}}}", check=False)
    assert result.returncode and words in result.stdout


def test_pretrain_and_bench_are_targets(fresh: Path) -> None:
    found = jobs(snakemake(fresh, "-n", "pretrain").stdout)
    assert found["pretrain_network"] == 4 and found["renders"] == 1
    assert jobs(snakemake(fresh, "-n", "bench").stdout)["bench"] == 1


def test_two_pairs_fill_the_same_tables(fresh: Path) -> None:
    output = snakemake(fresh, "-n", "--configfile", "config/smoke.yaml").stdout
    found = jobs(output)
    assert (found["align"], found["sample"], found["evaluate"], found["table"]) == (2, 6, 10, 2)
    assert (
        "results/sample/wonder3d+lgm/aware_2" in output and "results/sample/ring+lgm-head/aware_2" in output
    )
    assert "results/align/ring+lgm-head/both" in output


def test_the_verdict_is_an_ordinary_experiment(fresh: Path) -> None:
    four = ("--configfile", "config/pairs.yaml")
    output = snakemake(fresh, "-n", *four, "--", "all", "verdict").stdout
    found = jobs(output)
    names = ("align", "sample", "control", "evaluate", "renderings", "memory", "renders", "verdict")
    assert {n: found[n] for n in names} == {
        "align": 6, "sample": 17, "control": 4, "evaluate": 21, "renderings": 17, "memory": 1, "renders": 2,
        "verdict": 1,
    }  # fmt: skip
    assert "results/pairs/sample/wonder3d+lgm/aligncvc_4/manifest.json" in output
    assert "results/pairs/verdict/abstract/verdict.json" in output
    assert "--notes=config/pairs-notes.yaml" in output
    assert "snakemake --" not in output.partition("Job stats")[2], "no workflow inside the workflow"
    scans = snakemake(fresh, "-n", "-p", *four, "config/scans.yaml", "--", "all", "verdict").stdout
    assert jobs(scans) | {"sample": 3, "control": 4, "renderings": 3, "verdict": 1} == jobs(scans)
    assert not {"align", "memory"} & jobs(scans).keys(), "the aligned pair ships"
    told = re.search("python -m aligncvc.paper verdict .*", scans)
    assert told is not None and "--memory" not in told[0] and "--align" not in told[0]
    assert "results/scans/sample/wonder3d+lgm/aligncvc_4/manifest.json" in scans
    mirror = ("--config", "objects={sets: {eval: {path: mirror}}}")
    shown = snakemake(
        fresh, "-n", "-p", *four, "config/published.yaml", *mirror, "--", "all", "verdict"
    ).stdout
    assert jobs(shown) | {"sample": 3, "renderings": 3, "verdict": 1} == jobs(shown)
    assert not {"align", "memory", "control", "discrimination"} & jobs(shown).keys()


def test_the_first_pair_in_depth_and_what_reads_its_maps(fresh: Path) -> None:
    depth = ("--configfile", "config/pairs.yaml", "config/depth.yaml")
    found = jobs(snakemake(fresh, "-n", *depth, "--", "all", "verdict").stdout)
    names = ("align", "sample", "control", "evaluate", "renderings", "memory", "renders", "verdict")
    assert {n: found[n] for n in names} == {
        "align": 13, "sample": 23, "control": 4, "evaluate": 27, "renderings": 23, "memory": 1, "renders": 2,
        "verdict": 1,
    }  # fmt: skip
    output = snakemake(fresh, "-n", *depth, "--", "verdict").stdout
    assert "results/pairs/verdict/depth/verdict.json" in output, (
        "beside the page of four pairs, of the same rows"
    )
    assert "results/pairs/align/wonder3d+lgm/both/student.safetensors" in output
    output = snakemake(fresh, "-n", "-p", *depth, "--", "pretrain").stdout
    assert {n: jobs(output)[n] for n in ("objects", "renders", "pretrain_network")} == {
        "objects": 1, "renders": 1, "pretrain_network": 1,
    }  # fmt: skip
    assert "python -m aligncvc.pretrain demo-ouroboros3d" in output


@pytest.mark.parametrize("where", ["results/elsewhere", "absolute"])
def test_another_working_folder_changes_nothing_but_where_results_go(
    fresh: Path, tmp_path: Path, where: str
) -> None:
    folder = str(tmp_path / "it's `far`; away") if where == "absolute" else where
    smoke = ("--configfile", "config/smoke.yaml")
    here = jobs(snakemake(fresh, "-n", *smoke).stdout)
    assert jobs(snakemake(fresh, "-n", *smoke, "--directory", folder).stdout) == here
    # what lies in the checkout is really found from there
    snakemake(fresh, *smoke, "--directory", folder, "--cores", "1", "results/reported.md")
    assert (fresh / folder / "results/reported.md").is_file()
    assert (fresh / folder / "results/settings/paper.json").is_file()
    assert not (fresh / "results/reported.md").exists()


def test_a_checkout_may_lie_anywhere(tmp_path: Path) -> None:
    """A path with a blank, an apostrophe and what a shell would run."""
    checkout = copy_checkout(tmp_path / "it's a `place`; $(here)" / "check out")
    smoke = ("--configfile", "config/smoke.yaml")
    assert jobs(snakemake(checkout, "-n", *smoke).stdout)["sample"] == 6
    targets = ("results/reported.md", checkpoint_mark("lite0"))
    snakemake(checkout, *targets, *smoke, "--cores", "1", "--directory", str(tmp_path / "it's far"))
    assert all((tmp_path / "it's far" / target).is_file() for target in targets)


def test_braces_in_the_checkouts_path_are_one_sentence(tmp_path: Path) -> None:
    result = snakemake(copy_checkout(tmp_path / "a {place}"), "-n", check=False)
    assert result.returncode and "takes braces in a path for wildcards; move it" in result.stdout


def test_names_with_dots(tmp_path: Path, monkeypatch) -> None:
    """In methods, runs, sets and predictions."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs").mkdir()
    data = {
        "align": {"runs": {"soft.v2": {"hard": False}, "aligned": {}}},
        "objects": {"sets": {"train": {"list": "config/objects/bundled.tsv"}, "eval": {}, "my.set": {}}},
        "sample": {"methods": {"mine.v2": {"run": "soft.v2"}}},
        "evaluate": {"predictions": {"theirs.v1": {"folder": str(tmp_path / "theirs")}}},
    }
    table = JobTable(data, "test")
    table.write()
    row = SimpleNamespace(pair="wonder3d+lgm", method="mine.v2", prediction="theirs.v1", set="my.set")
    row.items = lambda: [(key, value) for key, value in vars(row).items() if key != "items"]
    for names in (("sample", "{pair}", "{method}"), ("prediction", "{prediction}"), ("render", "{set}")):
        assert Path(table.settings(*names)(row)).is_file() and table.reads(*names)(row)
    assert table.aligned(row)[0].endswith("align/wonder3d+lgm/soft.v2/student.safetensors")


def test_wrong_keys_are_named_in_one_line(fresh: Path) -> None:
    result = snakemake(fresh, "-n", "--config", "align={stepz: 3, batch: 0}", check=False)
    assert result.returncode
    line = next(line for line in result.stdout.splitlines() if "is not valid" in line)
    assert "align.stepz" in line and "align.batch" in line


def test_a_run_that_does_not_exist_is_named(fresh: Path) -> None:
    methods = "sample={methods: {mine: {run: nowhere}}}"
    result = snakemake(fresh, "-n", "--config", methods, check=False)
    assert result.returncode and "nowhere" in result.stdout


def test_slurm_profile_plans(fresh: Path) -> None:
    """The executor itself is an extra package; everything else of the profile is checked here."""
    text = (fresh / "profiles/slurm/profile.yaml").read_text()
    told = "-c envs/constraints-engines.txt snakemake-executor-plugin-slurm\n"
    assert told in text, "the pins must survive it"
    rules = set(
        re.findall(
            r"^rule (\w+):",
            "".join(path.read_text() for path in (fresh / "workflow/rules").glob("*.smk")),
            re.MULTILINE,
        )
    )
    block = re.search(r"^set-threads:\n((?:  .*\n)+)", text, re.MULTILINE)
    assert block is not None
    assert {line.split(":")[0].strip() for line in block[1].splitlines()} <= rules
    profile = fresh / "profiles/local-copy/profile.yaml"
    profile.parent.mkdir(exist_ok=True)
    profile.write_text(text.replace("executor: slurm\n", ""))
    assert jobs(snakemake(fresh, "-n", "--workflow-profile", "profiles/local-copy").stdout)["align"] == 4


@pytest.mark.parametrize("cores", ["1", "3"])
def test_rendering_uses_the_cores_that_it_is_given(fresh: Path, cores: str) -> None:
    """Alone it takes every core of the machine, a Blender process on each."""
    target = "results/renders/eval/manifest.tsv"
    planned = snakemake(fresh, "-n", "-p", "--cores", cores, target).stdout
    assert f"--out results/renders/eval --threads {cores} " in planned


def test_rules_are_thin() -> None:
    """One `python -m aligncvc...` call a rule, with its own log, environment, resources and docstring."""
    for path in (PROJECT_ROOT / "workflow/rules").glob("*.smk"):
        for body in re.split(r"^rule ", path.read_text(), flags=re.MULTILINE)[1:]:
            name = body.split(":")[0]
            assert re.match(r'\w+:\n    """', body), f"{name} has no docstring"
            if "shell:" not in body:
                assert name in ("pretrain", "met3r"), f"{name} does nothing"
                continue
            assert body.count("python -m aligncvc.") == 1, name
            assert "run:" not in body and "script:" not in body, name
            for directive in ("log:", "conda:", "resources:", "params:"):
                assert directive in body, f"{name} lacks {directive}"
            assert len(body.splitlines()) <= 50, f"{name} is long"


def test_nothing_of_the_users_reaches_a_shell_unquoted() -> None:
    """What is not quoted is a hash, a number, or a wildcard of names that are ours."""
    ours = {"params.code", "threads", "wildcards.table", "wildcards.network"}
    for path in (PROJECT_ROOT / "workflow/rules").glob("*.smk"):
        for body in re.split(r"^rule ", path.read_text(), flags=re.MULTILINE)[1:]:
            _, _, command = body.partition("    shell:")
            fields = set(re.findall(r"{([^{}]+)}", command))
            assert {field for field in fields if not field.endswith(":q")} <= ours, path.name


def test_settings_of_another_origin_stay(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "results/settings/mine.json"
    mine.parent.mkdir(parents=True)
    mine.write_text("{}")
    with pytest.raises(UserError, match=r"results/settings holds files that this program did not make"):
        JobTable({}, "test").write()
    assert mine.read_text() == "{}"
    mine.unlink()
    JobTable({}, "test").write()
    JobTable({"seed": 1}, "test").write()
    assert '"seed": 1' in (tmp_path / "results/settings/paper.json").read_text()
