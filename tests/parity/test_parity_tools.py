"""What the comparisons with references share: the facts they leave, and when they fail."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from parity_tools import TOLERANCE, conclude, parser, write_facts


def test_facts_are_written_beside_the_key_lists_and_read_back(tmp_path: Path) -> None:
    write_facts(tmp_path, "some", {"rays": np.arange(3.0)}, {"b": [2], "a": [1, 3]})
    assert np.load(tmp_path / "some.npz")["rays"].tolist() == [0, 1, 2]
    assert json.loads((tmp_path / "some_keys.json").read_text()) == {"a": [1, 3], "b": [2]}


def test_facts_without_keys_leave_no_key_list(tmp_path: Path) -> None:
    write_facts(tmp_path, "some", {"rays": np.arange(3.0)})
    assert [path.name for path in tmp_path.iterdir()] == ["some.npz"]


def test_a_comparison_ends_well_up_to_the_tolerance_and_with_a_sentence_above_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    conclude({"unet": TOLERANCE})
    assert json.loads(capsys.readouterr().out) == {"unet": TOLERANCE}
    with pytest.raises(SystemExit, match="above 1e-05"):
        conclude({"unet": TOLERANCE, "vae": 2 * TOLERANCE})


def test_each_object_of_a_reference_is_required_and_imported() -> None:
    options = parser("what it does", ("text_encoder", "rays"))
    given = options.parse_args(["--text-encoder", "json:dumps", "--rays", "math:pi"])
    assert given.text_encoder is json.dumps and given.rays == np.pi and given.facts is None
    with pytest.raises(SystemExit):
        options.parse_args(["--rays", "math:pi"])
