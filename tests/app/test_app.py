"""The page to upload a picture to: its states and pieces, and the whole in a browser with a real picture."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import skimage
import torch
from devtools import Page
from PIL import Image, ImageDraw
from tiny_world import PAIR, tiny_plan, tiny_settings

from aligncvc.app.making import making
from aligncvc.app.pieces import notes_html, strip_html, viewer_frame
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT
from aligncvc.loop.unroll import KeptStep
from aligncvc.meshes.files import load_mesh
from aligncvc.models.pair import load_pretrained
from aligncvc.pipeline.pipeline import Pipeline
from aligncvc.scene.gaussians import is_viewer_ply

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHOTO = Path(skimage.__file__).parent / "data/coffee.png"
MODEL = "document.querySelector('iframe.model')?.contentDocument?.querySelector('.gs-viewer')"


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    """Two steps of the tiny pair with random weights."""
    data = tiny_settings()
    data |= {"paper": {"turntable_views": 2}, "sample": {"methods": {"m": {"steps": 2}}}}
    job = tiny_plan(data).photo(PAIR, "m")
    return Pipeline(job, load_pretrained(job.sample.pair))


def test_the_page_follows_the_model_as_it_is_made(pipe: Pipeline, tmp_path: Path) -> None:
    image = Image.new("RGBA", (120, 120), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((0, 20, 100, 100), fill=(200, 30, 30, 255))
    *states, last = making(pipe, image, 3, 5, tmp_path)
    assert [(len(state.steps), state.expected) for state in states] == [(n, 3) for n in range(4)]
    assert all(state.page is None and not state.files for state in states)
    assert "touches the picture's edge" in last.prepared.doubts[0]
    wanted = pipe.model_of(last.prepared, steps=3, seed=5)
    assert torch.equal(torch.stack([step.views for step in last.steps]), wanted.views)
    ply = next(path for path in last.files if path.suffix == ".ply")
    assert ply.read_bytes() == wanted.save(tmp_path / "wanted.ply").read_bytes()
    assert len(last.files) + len(last.missing) == 3 and "gs-viewer" in str(last.page)


def test_a_fault_while_sampling_reaches_the_page(pipe: Pipeline, tmp_path: Path) -> None:
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    ImageDraw.Draw(image).rectangle((20, 20, 40, 40), fill=(200, 30, 30, 255))
    with pytest.raises(UserError, match="steps = 1001 must be"):
        list(making(pipe, image, 1001, 0, tmp_path))


def test_the_strip_has_the_made_steps_and_room_for_the_others() -> None:
    step = KeptStep(0, 4, torch.zeros(3, 3, 8, 8), torch.ones(3, 3, 8, 8))
    found = strip_html([step], 4)
    assert 'data-made="1"' in found and "step 1 of 4" in found
    assert found.count("<img") == 6 and found.count("waiting") == 3


def test_what_people_write_is_no_markup() -> None:
    assert "<b>" not in notes_html(["a <b> in a name"]) and not notes_html([]).strip()
    assert '"><script>' not in viewer_frame('<p title="x"><script>1</script>')


def test_without_gradio_one_sentence_says_how_to_get_it() -> None:
    hidden = (
        "import importlib.util as u; f = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n == 'gradio' else f(n, *a)\n"
        "from aligncvc.__main__ import main; main(['app'])"
    )
    environment = os.environ | {"PYTHONPATH": str(PROJECT_ROOT / "src")}
    found = subprocess.run([sys.executable, "-c", hidden], env=environment, text=True, capture_output=True)
    assert found.returncode == 2 and found.stderr.count("\n") == 1
    assert 'pip install ".[app]" -c envs/constraints-app.txt' in found.stderr


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.skipif(find_spec("gradio") is None, reason="gradio, an extra, is not installed")
def test_a_real_picture_in_a_real_browser(tmp_path: Path) -> None:
    from aligncvc.app.page import build, launch

    blocks = build(Pipeline.from_pretrained("demo"), tmp_path / "made")
    address = launch(blocks, tmp_path / "made", "127.0.0.1", None, block=False)
    assert address.startswith("http://127.0.0.1:") and blocks.analytics_enabled is False
    try:
        assert CHROMIUM is not None
        with Page(CHROMIUM, address, tmp_path / "profile", 1280, 1000) as page:
            page.until("document.querySelector('#photo input[type=file]') !== null")
            root = page.send("DOM.getDocument")["root"]["nodeId"]
            query = {"nodeId": root, "selector": "#photo input[type=file]"}
            node = page.send("DOM.querySelector", **query)["nodeId"]
            page.send("DOM.setFileInputFiles", nodeId=node, files=[str(PHOTO)])
            page.until("document.querySelector('#photo img') !== null")
            page.run("document.querySelector('#go').click()")
            for made in range(1, 5):  # it grows
                page.until(f"+document.querySelector('.strip')?.dataset.made >= {made}")
            page.until(f"{MODEL}?.dataset.state === 'live'")
            assert page.run("document.querySelectorAll('.strip .row img').length") == 4 * 2 * 4
            assert page.run("document.querySelector('#cut-out img').naturalWidth") == 256
            names = "performance.getEntriesByType('resource').map((entry) => entry.name)"
            assert [name for name in page.run(names) if not name.startswith((address, "data:"))] == []
            saved = tmp_path / "saved"
            page.send("Page.setDownloadBehavior", behavior="allow", downloadPath=str(saved))
            page.until("document.querySelectorAll('#files button').length === 3")
            for index, name in enumerate(("model.ply", "model.glb", "model.html")):
                page.run(f"document.querySelectorAll('#files button')[{index}].click()")
                waited(page, saved / name)
    finally:
        blocks.close()
    assert is_viewer_ply(saved / "model.ply")
    assert len(load_mesh(saved / "model.glb").faces) > 0
    assert "gs-viewer" in (saved / "model.html").read_text()


def waited(page: Page, path: Path) -> None:
    """Until a download is complete: Chromium renames it then."""
    for _ in range(1200):
        if path.exists():
            return
        page.settle()
    raise AssertionError(f"{path.name} was not saved")
