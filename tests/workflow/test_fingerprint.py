"""The code fingerprint: what it covers and what it ignores, on small packages made for the purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

from aligncvc.config.plan import Plan
from aligncvc.config.pretrain_job import pretrain_job
from aligncvc.config.root import Config
from aligncvc.workflow import fingerprint
from aligncvc.workflow.fingerprint import closure, code_hash, entry_module, job_modules


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A package with what occurs: __main__, lazy and relative imports, registries, a kernel."""
    files = {
        "__init__.py": "",
        "base.py": "X = 1\n",
        "stage/__init__.py": '"""A stage."""\n',
        "stage/__main__.py": "from aligncvc.stage.work import run\n\nrun()\n",
        "stage/work.py": "def run():\n    from aligncvc import lazy\n    return lazy\n",
        "lazy.py": "from . import base\n",
        "registry/__init__.py": 'TABLE = {"small": "aligncvc.registry.small:Small"}\n',
        "registry/small.py": "class Small:\n    pass\n",
        "splat/__init__.py": "",
        "splat/kernel.c": "int f(void) { return 1; } /* one */\n",
        "typed.py": "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from aligncvc import base\n",
        "unrelated.py": "Y = 2\n",
    }
    for name, text in files.items():
        path = tmp_path / "aligncvc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def forget() -> None:
    """Drop what was read: within one process, files are taken to stay as they are."""
    for function in (
        fingerprint._tree,
        fingerprint.normalised,
        fingerprint.imported_modules,
        fingerprint._file_digest,
        code_hash,
    ):
        function.cache_clear()


def edited(source: Path, name: str, text: str) -> str:
    """The stage's hash after a file was rewritten."""
    (source / "aligncvc" / name).write_text(text)
    forget()
    return code_hash("aligncvc.stage", source=source)


def test_a_package_means_its_main_and_lazy_imports_count(source: Path) -> None:
    assert entry_module("aligncvc.stage", source) == "aligncvc.stage.__main__"
    found = closure("aligncvc.stage.__main__", source)
    assert "aligncvc.lazy" in found and "aligncvc.base" in found and "aligncvc" in found
    assert "aligncvc.unrelated" not in found


def test_comments_docstrings_and_formatting_do_not_count(source: Path) -> None:
    before = code_hash("aligncvc.stage", source=source)
    assert edited(source, "base.py", '"""A docstring."""\n\nX  =  (\n    1  # one\n)\n') == before
    documented = 'def run():\n    """Docs."""\n    from aligncvc import lazy\n    # why\n    return lazy\n'
    assert edited(source, "stage/work.py", documented) == before


def test_code_counts_wherever_it_is_reached(source: Path) -> None:
    before = code_hash("aligncvc.stage", source=source)
    after = edited(source, "base.py", "X = 2\n")
    assert after != before
    assert edited(source, "stage/__init__.py", "Z = 1\n") not in (before, after)


def test_unrelated_code_does_not_count(source: Path) -> None:
    before = code_hash("aligncvc.stage", source=source)
    assert edited(source, "unrelated.py", "Y = 3\n") == before


def test_strings_that_carry_values_do_count(source: Path) -> None:
    assert edited(source, "base.py", 'X = "a"\n') != edited(source, "base.py", 'X = "b"\n')


def test_registries_by_name(source: Path) -> None:
    assert "aligncvc.registry.small" in closure("aligncvc.registry", source)


def test_imports_for_type_checkers_are_not_followed(source: Path) -> None:
    assert "aligncvc.base" not in closure("aligncvc.typed", source)


def test_kernels_count_without_their_comments(source: Path) -> None:
    (source / "aligncvc/lazy.py").write_text("from . import base\nfrom . import splat\n")
    before = edited(source, "splat/kernel.c", "int f(void) { return 1; }\n")
    assert edited(source, "splat/kernel.c", "// why\nint f(void)  { return 1; } /* two */\n\n") == before
    assert edited(source, "splat/kernel.c", "int f(void) { return 2; }\n") != before
    quoted = edited(source, "splat/kernel.c", 'char *s = "// not a comment";\n')
    assert edited(source, "splat/kernel.c", 'char *s = "// another one";\n') != quoted


def test_no_such_module(source: Path) -> None:
    with pytest.raises(ValueError, match=r"aligncvc\.nowhere"):
        code_hash("aligncvc.nowhere", source=source)


def test_descriptions_of_settings_do_not_count(source: Path) -> None:
    before = edited(source, "base.py", "X = Field(3, ge=1, description='how many')\n")
    assert edited(source, "base.py", "X = Field(3, ge=1, description='the number')\n") == before
    assert edited(source, "base.py", "X = Field(3, ge=2, description='how many')\n") != before
    other = edited(source, "base.py", "X = notes(description='how many')\n")
    assert edited(source, "base.py", "X = notes(description='the number')\n") != other


def test_more_modules_count_and_packages_of_the_users_too(source: Path, monkeypatch) -> None:
    alone = code_hash("aligncvc.typed", source=source)
    assert code_hash("aligncvc.typed", "aligncvc.unrelated", source=source) != alone
    monkeypatch.syspath_prepend(str(source))
    (source / "my_kind").mkdir()
    (source / "my_kind/__init__.py").write_text("")
    (source / "my_kind/network.py").write_text("A = 1\n")
    forget()
    before = code_hash("aligncvc.typed", "my_kind.network", source=source)
    (source / "my_kind/network.py").write_text("A = 2\n")
    forget()
    assert code_hash("aligncvc.typed", "my_kind.network", source=source) not in (alone, before)


def test_a_jobs_code_is_its_stage_its_kinds_and_its_feedback() -> None:
    plan = Plan(Config())
    pair = next(iter(plan.pairs))
    lgm = "aligncvc.models.reconstructors.lgm.network"
    both = ["aligncvc.models.generators.wonder3d.network", lgm]
    assert job_modules(plan.sample(pair, "two_stage_4")) == ["aligncvc.loop.two_stage", *both]
    assert job_modules(plan.align(pair, "both")) == ["aligncvc.loop.aligncvc", *both]
    assert job_modules(plan.control("gt")) == job_modules(plan.evaluate("aware_4")) == [lgm]
    assert (
        job_modules(pretrain_job(plan, "vae")) == [both[0]]
        and job_modules(pretrain_job(plan, "demo-lgm")) == both[::-1]
    )
    assert job_modules(plan.render("train")) == []


def test_stages_of_this_project_see_what_they_use_and_nothing_else() -> None:
    """A new kind, a method's name or the page's script must leave what does not use them alone."""
    align, sets = closure("aligncvc.align.train"), closure("aligncvc.sample.sets")
    for found in (align, sets):
        assert {"aligncvc.loop.unroll", "aligncvc.models.pair", "aligncvc.splat"} <= set(found)
        strangers = ("paper", "evaluate", "render.", "viewer", "config.root", "config.plan", "workflow")
        strangers += ("models.generators.wonder3d", "models.reconstructors.lgm", "loop.aligncvc")
        assert not [n for n in found if n.removeprefix("aligncvc.").startswith(strangers)]
    assert "aligncvc.config.jobs.align" not in sets
    render = closure("aligncvc.render.run")
    assert "aligncvc.render.blender_scene" in render
    assert not any(name.startswith(("aligncvc.align", "aligncvc.models.generators")) for name in render)
