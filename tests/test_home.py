"""Where files lie, in a checkout and in an installed package."""

from __future__ import annotations

from pathlib import Path

import pytest

from aligncvc.home import IN_CHECKOUT, PROJECT_ROOT, cache_folder, project_file


def test_this_is_the_checkout() -> None:
    assert IN_CHECKOUT and (PROJECT_ROOT / "pyproject.toml").is_file()
    assert project_file("config/config.yaml") == PROJECT_ROOT / "config/config.yaml"


def test_relative_paths_of_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, desk = tmp_path / "package", tmp_path / "desk"
    inside.mkdir(), desk.mkdir()
    (inside / "a.tsv").touch()
    (desk / "a.tsv").touch(), (desk / "b.tsv").touch()
    monkeypatch.chdir(desk)
    assert project_file("a.tsv", inside, in_checkout=False) == inside / "a.tsv"
    assert project_file("b.tsv", inside, in_checkout=False) == desk / "b.tsv"
    assert project_file("b.tsv", inside, in_checkout=True) == inside / "b.tsv"
    assert project_file(desk / "b.tsv", inside, in_checkout=False) == desk / "b.tsv"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert project_file("~/desk/b.tsv", inside) == desk / "b.tsv"


def test_caches_lie_in_the_checkout_or_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder("splat", tmp_path) == tmp_path / "xdg/aligncvc/splat"
    (tmp_path / "pyproject.toml").touch()
    assert cache_folder("splat", tmp_path) == tmp_path / ".cache/splat"
