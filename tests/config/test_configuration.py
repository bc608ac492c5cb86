"""Configuration: the committed files, the schema and the reference agree; wrong input is named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from aligncvc.config import reference as pages
from aligncvc.config.__main__ import as_yaml
from aligncvc.config.root import Config, load_config, parse_config, write_schema
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT

FILES = ["config.yaml", "paper.yaml", "smoke.yaml", "verdict.yaml"]


def test_the_demo_file_says_what_the_defaults_are() -> None:
    """It shows the keys that people change; no other has another value than its default.

    But for a second pair and the methods that run on the first alone: a user's own pairs need neither.
    """
    demo, default = load_config(), Config()
    of_all_pairs = {
        name: method.model_copy(update={"pairs": None}) for name, method in demo.sample.methods.items()
    }
    assert default.pairs.items() <= demo.pairs.items()
    assert default.sample.methods.items() <= of_all_pairs.items()
    sample = demo.sample.model_copy(update={"methods": default.sample.methods})
    assert demo.model_copy(update={"pairs": default.pairs, "sample": sample}) == default


@pytest.mark.parametrize("name", FILES)
def test_files_are_valid_for_both_validators(name: str) -> None:
    config = load_config(PROJECT_ROOT / "config" / name)
    schema = json.loads(pages.SCHEMA.read_text())
    jsonschema.validate(yaml.safe_load((PROJECT_ROOT / "config" / name).read_text()), schema)
    jsonschema.validate(config.model_dump(mode="json"), schema)


def test_schema_and_reference_are_up_to_date(tmp_path: Path) -> None:
    write_schema(tmp_path / "schema.json")
    remedy = "run python -m aligncvc.config schema and reference"
    assert (tmp_path / "schema.json").read_text() == pages.SCHEMA.read_text(), remedy
    assert pages.reference() == pages.REFERENCE.read_text(), remedy


def test_reference_names_every_key() -> None:
    text = pages.REFERENCE.read_text()

    def keys(value: object) -> set[str]:
        if not isinstance(value, dict):
            return set()
        return set(value).union(*map(keys, value.values())) if value else set()

    config = Config()
    named_by_users = {*config.objects.sets, *config.align.runs, *config.sample.methods, "4"}
    named_by_users |= {*config.pairs, *config.rigs}
    missing = [k for k in keys(Config().model_dump(mode="json")) - named_by_users if f"`{k}`" not in text]
    assert not missing


def test_every_key_has_a_meaning() -> None:
    silent = [line for line in pages.reference().splitlines() if line.endswith("|  |")]
    assert not silent


def test_resolved_configuration_reads_back_the_same() -> None:
    for name in FILES:
        config = load_config(PROJECT_ROOT / "config" / name)
        assert parse_config(yaml.safe_load(as_yaml(config)), name) == config


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"sed": 1}, "sed"),
        ({"align": {"steps": 0, "lora": 4}}, "align.steps"),
        ({"align": {"steps": 0, "lora": 4}}, "align.lora"),
        ({"render": {"ring_views": 10, "rig_views": 4}}, "rig_views must divide ring_views"),
        ({"sample": {"methods": {"mine": {"run": "nowhere"}}}}, "nowhere"),
        ({"evaluate": {"background": 0.5}}, "evaluate.background"),
        ({"align": {"runs": {"both": {"regression": True}}}}, "regression is an alternative to soft"),
        (
            {"align": {"runs": {"soft": {"hard": False, "gan": False}}}},
            "parts of hard alignment, which is off",
        ),
        ({"align": {"runs": {"hard": {"gan": False, "recon": False}}}}, "set hard to false instead"),
        ({"align": {"runs": {"both": {"soft": False, "hard": False}}}}, "neither soft nor hard"),
        ({"align": {"runs": {"both": {"soft": False, "asd_mode": "official"}}}}, "asd_mode belongs to soft"),
        (
            {"align": {"lambda_soft": 0, "runs": {"both": {"asd_mode": "fake_score"}}}},
            "runs.both trains a fake score, and lambda_soft is 0",
        ),
        ({"align": {"asd": {"fake": {"updates": 0}}}}, "align.asd.fake.updates"),
        ({"align": {"gan": {"levels": [1, 1]}}}, "names a level twice"),
        ({"align": {"gan": {"levels": [0, 5]}}}, "[5] do not exist in the encoder lite0, which has 0 to 4"),
        (
            {"align": {"gan": {"encoder": "clip", "levels": [2, 3]}}},
            "[3] do not exist in the encoder clip, which has 0 to 2",
        ),
        (
            {
                "align": {
                    "lambda_recon": 0,
                    "runs": {"foil": {"soft": False, "hard": False, "regression": True}},
                }
            },
            "runs.foil is regression, whose weight lambda_recon is 0",
        ),
        ({"objects": {"sets": {"eval": {"limit": 2}}}}, "the protocol's: leave them out"),
        (
            {"pairs": {"a": {"generator": "x", "reconstructor": "y", "rig": "z"}}},
            "names 'z', which rigs does",
        ),
        ({"pairs": {}}, "pairs"),
        ({"pairs": {"a b": {"generator": "x", "reconstructor": "y"}}}, "pairs holds the name 'a b'"),
        ({"sample": {"methods": {"a;rm": {}}}}, "sample.methods holds the name 'a;rm'"),
        ({"sample": {"methods": {"control-x": {}}}}, "`control`, which marks controls"),
        ({"sample": {"methods": {"m": {"pairs": ["q"]}}}}, "names 'q', which pairs does not define"),
        ({"align": {"runs": {"../up": {}}}}, "align.runs holds the name '../up'"),
        ({"experiment": "a/b"}, "experiment"),
        ({"sample": {"methods": {"m": {"guidance": float("nan")}}}}, "guidance: Input should be a finite"),
        ({"align": {"lambda_hard": float("inf")}}, "align.lambda_hard: Input should be a finite"),
    ],
)
def test_wrong_input_is_named_in_one_line(data: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match="not valid") as caught:
        parse_config(data, "my.yaml")
    message = str(caught.value)
    assert words in message and "my.yaml" in message and "\n" not in message


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no configuration can be read from"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1")
    with pytest.raises(UserError, match="not YAML"):
        load_config(tmp_path / "broken.yaml")
    (tmp_path / "picture.yaml").write_bytes(b"\x89PNG\r\n\xff\xfe")
    with pytest.raises(UserError, match="not YAML"):
        load_config(tmp_path / "picture.yaml")
    with pytest.raises(UserError, match="no configuration can be read from"):
        load_config(tmp_path)
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(UserError, match="no mapping"):
        load_config(tmp_path / "list.yaml")


def test_values_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().seed = 3  # type: ignore[misc]


def test_resolve_command(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("seed: 7\n")
    command = [sys.executable, "-m", "aligncvc.config", "resolve", "--config", str(tmp_path / "mine.yaml")]
    environment = {"PYTHONPATH": str(PROJECT_ROOT / "src"), "PATH": ""}
    done = subprocess.run(command, check=True, env=environment, text=True, capture_output=True)
    assert parse_config(yaml.safe_load(done.stdout), "resolved") == Config(seed=7)
    (tmp_path / "mine.yaml").write_text("sed: 7\n")
    failed = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    assert failed.returncode == 2 and "sed: Extra inputs" in failed.stderr


def test_what_the_workflow_imports_at_its_start_is_light() -> None:
    """torch takes seconds to import; snakemake starts far too often for that."""
    script = (
        "import sys; sys.path.insert(0, 'src')\n"
        "import aligncvc.workflow.jobs, aligncvc.config.reference, aligncvc.workflow.doctor\n"
        "print([m for m in ('torch', 'diffusers', 'bpy', 'scipy', 'pandas', 'numpy') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT_ROOT, text=True, capture_output=True, check=True
    )
    assert result.stdout.strip() == "[]"
