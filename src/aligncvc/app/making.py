"""What the page shows while a model is made: states that the sampler feeds as it goes. No gradio here."""

from __future__ import annotations

import queue
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from aligncvc.errors import UserError
from aligncvc.loop.feedback import find_feedback
from aligncvc.loop.unroll import KeptStep
from aligncvc.pipeline.pipeline import Pipeline
from aligncvc.sample.photo import Prepared
from aligncvc.sample.photo_model import PhotoModel


@dataclass(frozen=True)
class Shown:
    """How far the model is. expected: kept steps there will be. files: what can be saved, at the end."""

    prepared: Prepared
    expected: int
    steps: tuple[KeptStep, ...] = ()
    page: str | None = None
    files: tuple[Path, ...] = ()
    missing: tuple[str, ...] = ()


def making(pipe: Pipeline, photo: Image.Image | str, steps: int, seed: int, folder: Path) -> Iterator[Shown]:
    """The states of one picture on its way: cut out, each kept step, the model with its files in `folder`.

    Raises UserError for a picture that cannot be handled.
    """
    prepared = pipe.prepare(photo)
    shown = Shown(prepared, len(find_feedback(pipe.job.sample.feedback).kept(steps)))
    yield shown
    told: queue.Queue[KeptStep | PhotoModel | BaseException] = queue.Queue()

    def work() -> None:
        try:
            told.put(pipe.model_of(prepared, steps=steps, seed=seed, on_step=told.put))
        except BaseException as error:  # raised again where the page is
            told.put(error)

    threading.Thread(target=work, daemon=True).start()
    while not isinstance(news := told.get(), PhotoModel):
        if isinstance(news, BaseException):
            raise news
        shown = replace(shown, steps=(*shown.steps, news))
        yield shown
    yield finished(shown, news, folder)


def finished(shown: Shown, made: PhotoModel, folder: Path) -> Shown:
    """The last state, with model.ply, model.glb and model.html written in a new folder below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    own = Path(tempfile.mkdtemp(dir=folder))
    files, missing = [], []
    for kind in ("ply", "glb", "html"):
        try:
            files.append(made.save(own / f"model.{kind}"))
        except UserError as error:  # a translucent model has no surface
            missing.append(str(error).replace(f"{own}/", ""))
    page = (own / "model.html").read_text(encoding="utf-8")
    return replace(shown, page=page, files=tuple(files), missing=tuple(missing))
