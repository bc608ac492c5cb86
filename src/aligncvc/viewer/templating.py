"""Pages from templates: Jinja with escaping on, and the plain files beside them."""

from __future__ import annotations

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).resolve().parent / "templates"
"""The viewer's own templates; other packages name theirs."""

_MIME = {
    ".png": "image/png", ".webp": "image/webp", ".svg": "image/svg+xml", ".gif": "image/gif",
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg",
}  # fmt: skip


def render_template(name: str, *, folder: Path = TEMPLATES, **values: object) -> str:
    """Fill the template `name` of `folder`; HTML is escaped, an unknown variable is an error."""
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(**values)


def render_text(text: str, /, **values: object) -> str:
    """Fill a template given as text, plain words; an unknown variable is an error."""
    return Environment(undefined=StrictUndefined).from_string(text).render(**values)


def template_text(name: str, folder: Path = TEMPLATES) -> str:
    """The file `name` of a templates folder, as it is."""
    return (folder / name).read_text(encoding="utf-8")


def data_uri(data: bytes, suffix: str) -> str:
    """`data` as a data: address; `suffix` (".png", ...) names its type."""
    return f"data:{_MIME[suffix.lower()]};base64,{base64.b64encode(data).decode('ascii')}"
