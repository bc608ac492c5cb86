"""`--set key=value`: one key of a configuration from the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aligncvc.__main__ import main
from aligncvc.config.jobs.sample import SampleJob
from aligncvc.config.plan import Plan
from aligncvc.config.root import load_config
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT

SMOKE = PROJECT_ROOT / "config/smoke.yaml"


def test_only_the_named_keys_change() -> None:
    before = load_config(SMOKE)
    after = load_config(
        SMOKE,
        [
            "sample.methods.aware_2.guidance=2",
            "sample.timesteps.2=[999, 500]",
            "pairs.wonder3d+lgm.rig=orbit8",
        ],
    )
    assert after.sample.methods["aware_2"].guidance == 2.0
    assert after.sample.timesteps == {2: [999, 500]} and after.pairs["wonder3d+lgm"].rig == "orbit8"
    methods = dict(before.sample.methods)
    methods["aware_2"] = methods["aware_2"].model_copy(update={"guidance": 2.0})
    assert after.sample.methods == methods
    assert after.align == before.align and after.render == before.render
    assert load_config(SMOKE, []) == before


def test_keys_that_the_file_leaves_out_can_be_set_and_their_neighbours_stay(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("{}")
    config = load_config(tmp_path / "c.yaml", ["sample.methods.aligncvc_4.guidance=2", "experiment=mine"])
    assert config.sample.methods["aligncvc_4"].guidance == 2.0 and "two_stage_50" in config.sample.methods
    assert config.experiment == "mine"
    assert load_config(tmp_path / "c.yaml", ["experiment=a", "experiment=null"]).experiment is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("sampel.steps=1", r"the configuration has no sampel; did you mean sample"),
        ("sample.methods.aware_9.steps=1", r"sample.methods has no aware_9; did you mean aware_2"),
        ("align.stepz=1", r"align has no stepz; did you mean steps"),
        ("seed.x=1", r"seed is a value and holds no keys; set seed itself"),
        ("seed", r"is no KEY=VALUE"),
        ("seed=[1", r"is not YAML"),
        ("seed=abc", r"smoke.yaml with --set is not valid: seed: Input should be a valid integer"),
        ("pairs.wonder3d+lgm.rig=none", r"names 'none', which rigs does not define"),
    ],
)
def test_a_wrong_change_is_one_sentence(change: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        load_config(SMOKE, [change])
    assert "\n" not in str(caught.value)


def test_commands_take_it_and_settings_refuse_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["aligncvc"])  # which the command changes
    main(["config", "resolve", "--config", str(SMOKE), "--set", "seed=7", "--set", "align.steps=9"])
    printed = capsys.readouterr().out
    assert printed.startswith("seed: 7\n") and "\n  steps: 9\n" in printed
    job = Plan.read(SMOKE).sample("wonder3d+lgm", "aware_2")
    job.write(tmp_path / "settings.json")
    with pytest.raises(UserError, match="--set changes a configuration"):
        SampleJob.read(tmp_path / "settings.json", ["seed=1"])


@pytest.mark.parametrize(
    "words",
    ["sample", "objects", "render", "align", "pretrain", "evaluate", "paper table", "bench", "pipeline save"],
)
def test_every_command_that_takes_a_configuration_takes_changes(
    words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["aligncvc"])
    with pytest.raises(SystemExit) as caught:
        main([*words.split(), "--help"])
    said = capsys.readouterr().out
    assert caught.value.code == 0
    assert "--config" in said and "--set KEY=VALUE" in said and f"usage: aligncvc {words}" in said
