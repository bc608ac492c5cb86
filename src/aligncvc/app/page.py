"""The page itself, in gradio: what is where, what a press does. Nothing is fetched from elsewhere."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from aligncvc.app.making import Shown, making
from aligncvc.app.pieces import TEMPLATES, empty_frame, notes_html, picture, strip_html, viewer_frame
from aligncvc.errors import UserError
from aligncvc.pipeline.pipeline import Pipeline
from aligncvc.viewer.templating import template_text

HEAD = """# One picture, a 3D model in {steps} steps
Give a picture of one thing that stands alone, seen from the side or slightly above.
A picture taken from well above comes out wrong, and nothing here can tell that it was."""
KINDS = {".ply": "Gaussians (PLY)", ".glb": "Mesh (GLB)", ".html": "Page (HTML)"}


def build(pipe: Pipeline, folder: Path) -> gr.Blocks:
    """The page for one pair. folder: where the files that it gives out are written."""
    steps = pipe.job.sample.steps
    with gr.Blocks(title="AlignCVC", analytics_enabled=False) as blocks:
        gr.Markdown(HEAD.format(steps=steps), elem_id="head")
        with gr.Row():
            with gr.Column(scale=1, min_width=260):
                photo = gr.Image(
                    label="Picture", type="pil", image_mode=None, sources=["upload", "clipboard"], height=300,
                    elem_id="photo",
                )  # fmt: skip
                with gr.Accordion("Settings", open=False):
                    number = gr.Slider(1, max(8, steps), value=steps, step=1, label="Steps")
                    seed = gr.Number(value=0, precision=0, minimum=0, label="Seed")
                go = gr.Button("Make the model", variant="primary", elem_id="go")
                notes = gr.HTML(elem_id="notes")
                cut_out = gr.Image(
                    label="What the networks see", height=220, interactive=False, buttons=[], visible=False,
                    elem_id="cut-out",
                )  # fmt: skip
            with gr.Column(scale=2, min_width=300):
                model = gr.HTML(empty_frame("The model appears here."), elem_id="model")
                with gr.Row(elem_id="files"):
                    saves = [gr.DownloadButton(name, visible=False, size="md") for name in KINDS.values()]
        strip = gr.HTML(elem_id="strip")

        def run(image: Any, count: float, of_noise: float) -> Iterator[list[Any]]:
            if image is None:
                yield [
                    gr.update(),
                    notes_html(["no picture is there yet; give one first"]),
                    *_blank(2 + len(KINDS)),
                ]
                return
            try:
                for shown in making(pipe, image, int(count), int(of_noise or 0), folder):
                    yield _update(shown)
            except UserError as error:
                yield [
                    gr.update(visible=False),
                    notes_html([str(error)], "error"),
                    "",
                    empty_frame("There is no model."),
                    *_hidden(),
                ]

        outputs = [cut_out, notes, strip, model, *saves]
        go.click(run, [photo, number, seed], outputs, concurrency_limit=1, show_progress="minimal")
    return blocks


def serve(pipe: Pipeline, *, host: str, port: int | None, open_browser: bool) -> None:
    """Serve the page until Ctrl-C. UserError if the address cannot be had."""
    with tempfile.TemporaryDirectory(prefix="aligncvc-app-") as folder:
        try:
            launch(build(pipe, Path(folder)), Path(folder), host, port, open_browser, block=True)
        except OSError as error:
            raise UserError(
                f"the page cannot be served at {host}, port {port or '7860 and on'} ({error}); give another "
                "--host or --port"
            ) from None


def launch(
    blocks: gr.Blocks, folder: Path, host: str, port: int | None, open_browser: bool = False, *, block: bool
) -> str:
    """Start the server and return its address; block: until Ctrl-C."""
    *_, address, _ = blocks.queue(default_concurrency_limit=1).launch(
        server_name=host, server_port=port, inbrowser=open_browser, share=False, quiet=not block,
        prevent_thread_lock=not block, allowed_paths=[str(folder)], footer_links=[], ssr_mode=False,
        enable_monitoring=False, css=template_text("app.css", TEMPLATES), theme=theme(),
    )  # fmt: skip
    return str(address)


def theme() -> gr.themes.Base:
    """Fonts of the reader's machine: gradio's own ask Google for theirs."""
    fonts = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
    mono = ("ui-monospace", "SF Mono", "Menlo", "Consolas", "monospace")
    return gr.themes.Soft(
        primary_hue="orange", neutral_hue="slate",
        font=[gr.themes.Font(name) for name in fonts], font_mono=[gr.themes.Font(name) for name in mono],
    )  # fmt: skip


def _update(shown: Shown) -> list[Any]:
    said = [*shown.prepared.doubts, *shown.missing]
    files = {path.suffix: str(path) for path in shown.files}
    saves = [gr.update(value=files.get(kind), visible=kind in files) for kind in KINDS]
    model = viewer_frame(shown.page) if shown.page else empty_frame("The model is being made.")
    strip = strip_html(shown.steps, shown.expected)
    cut_out = gr.update(value=picture(shown.prepared.image, 4), visible=True)
    return [cut_out, notes_html(said), strip, model, *saves]


def _blank(count: int) -> list[Any]:
    return [gr.update() for _ in range(count)]


def _hidden() -> list[Any]:
    return [gr.update(visible=False) for _ in KINDS]
