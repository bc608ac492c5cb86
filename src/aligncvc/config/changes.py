"""One key of a configuration changed from the command line: `--set sample.methods.aligncvc_4.guidance=2`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from aligncvc.errors import UserError
from aligncvc.files import parse_yaml


def with_changes(settings: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """A complete mapping of settings (all keys, defaults too) with the values of these keys replaced.

    A value is YAML, so `null`, `[1, 2]` and `{a: 1}` are what they look like. Raises UserError for a change
    that is no KEY=VALUE and for a key that does not exist.
    """
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or not key:
            raise UserError(f"--set {change} is no KEY=VALUE; write it as in --set align.steps=8")
        try:
            value = parse_yaml(text)
        except yaml.YAMLError as error:
            said = " ".join(str(error).split())
            raise UserError(f"the value of --set {change} is not YAML ({said}); put it in quotes") from None
        settings = _replaced(settings, key.split("."), value, change, "")
    return settings


def _replaced(at: Any, names: list[str], value: Any, change: str, above: str) -> dict[str, Any]:
    """`at` with the value at the end of the path replaced, the rest shared. above: the path so far."""
    name, *rest = names
    if not isinstance(at, dict):
        raise UserError(f"--set {change}: {above} is a value and holds no keys; set {above} itself")
    known = {str(key): key for key in at}
    if name not in known:
        raise UserError(f"--set {change}: {above or 'the configuration'} has no {name}; {_hint(name, known)}")
    path = f"{above}.{name}" if above else name
    inner = _replaced(at[known[name]], rest, value, change, path) if rest else value
    return at | {known[name]: inner}


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=2, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known) or 'no keys yet'}"
