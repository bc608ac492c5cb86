"""`python -m aligncvc.app`: the page to upload a picture to, served on this machine."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import tyro

from aligncvc.config.option import Changes
from aligncvc.errors import UserError, cli


def app(
    config: Path | None = None,
    changes: Changes = (),
    pair: str | None = None,
    method: str | None = None,
    aligned: Path | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    open_browser: bool = False,
) -> None:
    """Serve a page that makes 3D models of pictures. It ends with Ctrl-C.

    Args:
        config: configuration file; config/config.yaml if left out.
        pair: a key of pairs; the first if left out.
        method: a key of sample.methods; aligncvc_4 if left out.
        aligned: folder of the alignment run that the method uses, if its weights are not in the ledger.
        host: address to listen at. Others reach the page only if this is not 127.0.0.1.
        port: the first free one from 7860 on if left out.
        open_browser: open the page when it is ready.
    """
    require_gradio()
    from aligncvc.app.page import serve  # gradio, torch and diffusers load only when there is work
    from aligncvc.pipeline.pipeline import Pipeline

    pipe = Pipeline.from_config(config, changes=changes, pair=pair, method=method, aligned=aligned)
    serve(pipe, host=host, port=port, open_browser=open_browser)


def require_gradio() -> None:
    """Raise UserError unless gradio is there."""
    if find_spec("gradio") is None:
        raise UserError(
            "the page needs the Python package gradio, which `make env` leaves out; install it with "
            '`pip install ".[app]" -c envs/constraints-app.txt` (docs/app.md)'
        )


COMMAND = app


def main() -> None:
    tyro.cli(COMMAND)


if __name__ == "__main__":
    cli(main)
