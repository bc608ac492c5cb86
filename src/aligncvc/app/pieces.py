"""The page's pieces of HTML: the strip of steps, the notes, the viewer in its frame. No gradio here."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from aligncvc.loop.unroll import KeptStep
from aligncvc.viewer.templating import data_uri, render_template

TEMPLATES = Path(__file__).resolve().parent / "templates"


def strip_html(steps: Sequence[KeptStep], expected: int) -> str:
    """The kept steps side by side, generated views over renderings; those not yet made are empty frames.

    expected: how many there will be.
    """
    shown = [
        {"title": f"step {step.index + 1} of {step.steps}", "views": _row(step.views),
         "renderings": _row(step.renderings)}
        for step in steps
    ]  # fmt: skip
    return render_template("strip.html", folder=TEMPLATES, shown=shown, waiting=max(0, expected - len(shown)))


def notes_html(sentences: Sequence[str], kind: str = "doubt") -> str:
    """Sentences as a box, or nothing. kind: doubt, or error."""
    return render_template("notes.html", folder=TEMPLATES, sentences=sentences, kind=kind)


def viewer_frame(page: str) -> str:
    """The project's page of a model (`viewer.page`) in a frame, where no style reaches it or leaves it."""
    attribute = html.escape(page, quote=True)
    return (
        f'<iframe class="model" title="the model, to be turned" srcdoc="{attribute}" '
        'allow="fullscreen" allowfullscreen></iframe>'
    )


def empty_frame(sentence: str) -> str:
    """Where the model will be."""
    return f'<div class="empty">{html.escape(sentence)}</div>'


def picture(image: Tensor, times: int = 1) -> Image.Image:
    """(3, H, W) in [0, 1] -> a picture, each pixel so many times as wide."""
    small = Image.fromarray((image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())
    return small.resize((small.width * times, small.height * times), Image.Resampling.NEAREST)


def _row(images: Tensor) -> list[str]:
    """(V, 3, H, W) -> data: addresses of PNGs."""
    return [_png(image) for image in images]


def _png(image: Tensor) -> str:
    buffer = io.BytesIO()
    picture(image).save(buffer, "PNG")
    return data_uri(buffer.getvalue(), ".png")
