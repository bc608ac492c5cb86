"""Predictions made elsewhere: any method becomes a row, measured like our own.

    pred/<method>/<object>/...                  one prediction (`aligncvc.evaluate.prediction_files`)
    pred/<method>/<object>/seed<N>/...          the same, where there are several seeds

`docs/evaluating-your-method.md` is the user's page.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path

from aligncvc.errors import UserError
from aligncvc.evaluate.ground_truth import GroundTruth
from aligncvc.evaluate.prediction_files import (
    GAUSSIAN_FILE,
    IMAGE_NAME,
    MESH_FILES,
    load_prediction,
    read_facts,
)
from aligncvc.evaluate.score import Entry, Method
from aligncvc.evaluate.trial import Trial
from aligncvc.files import sha256_file

ELSEWHERE = "elsewhere"
"""The pair of predictions that this project's models did not make."""
SEED_NAME = re.compile(r"seed(\d+)")
METHOD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def method_name(folder: Path, reserved: Collection[str] = ()) -> str:
    """The method is named by its folder. Raises UserError for a name that tables could not bear.

    reserved: names of other rows (the configuration's own methods).
    """
    name = folder.resolve().name
    if not METHOD_NAME.fullmatch(name) or name.startswith("control"):
        raise UserError(
            f"{folder} names a method {name!r}; rename the folder to letters, digits and . _ + - (not "
            "beginning with control, which marks controls)"
        )
    if name in reserved:
        raise UserError(f"{folder} names a method {name!r}, which the configuration has; rename the folder")
    return name


def predicted_method(pred: Path, truth: GroundTruth, reserved: Collection[str] = ()) -> Method:
    """One entry for each object of the protocol and each seed that pred has, named by the folder.

    pred: `pred/<method>`, or `pred/<method>/<object>` for that object alone. An object without a prediction
    is an entry that fails. Raises UserError for a bad method name, an object or a seed that the protocol does
    not ask for, and a folder without any prediction.
    """
    if not pred.is_dir():
        raise UserError(f"{pred} is not a folder; give pred/<method> or pred/<method>/<object>")
    pred = pred.resolve()
    alone = _holds_prediction(pred)
    root, wanted = (pred.parent, [pred.name]) if alone else (pred, truth.ids)
    method = method_name(root, reserved)
    present = [pred] if alone else [p for p in sorted(root.iterdir()) if p.is_dir() and p.name[0] not in "._"]
    strangers = sorted({p.name for p in present} - set(truth.ids))
    if strangers:
        raise UserError(
            f"{root} holds {strangers[0]}, which {truth.set.manifest} does not list; name the folders after "
            f"its objects, such as {truth.ids[0]}"
        )
    folders = _folders(present, truth.protocol.seeds)
    if not folders:
        raise UserError(f"{root} holds no prediction; see docs/evaluating-your-method.md for the layout")
    odd = sorted({seed for _, seed in folders} - set(truth.protocol.seeds))
    if odd:
        raise UserError(
            f"{root} has predictions of seed {odd[0]}, and the protocol {truth.protocol.slug} asks for "
            f"{list(truth.protocol.seeds)}; use its seeds"
        )
    seeds = sorted({seed for _, seed in folders})
    entries = [
        Entry(name, seed, partial(_read_trial, root, folders.get((name, seed)), truth, name, seed))
        for name in wanted
        for seed in seeds
    ]
    files = sorted(path for path in pred.rglob("*") if path.is_file())
    return Method(ELSEWHERE, method, entries, {str(p.relative_to(pred)): sha256_file(p) for p in files})


def _read_trial(root: Path, folder: Path | None, truth: GroundTruth, name: str, seed: int) -> Trial:
    if folder is None:
        raise UserError(f"{root} has no prediction of {name}, seed {seed}")
    posed, protocol = truth.load(name), truth.protocol
    made = load_prediction(folder, posed, protocol.resize, protocol.metrics.geometry.voxel)
    for note in made.notes:
        print(f"note: {note}", file=sys.stderr)
    return truth.trial(posed, seed, made.views, made.renders, made.model, made.cost)


def _folders(objects: Iterable[Path], seeds: list[int]) -> dict[tuple[str, int], Path]:
    """Folder of each (object, seed): seed<N>/ inside, or the object's own with the seed it states."""
    found = {}
    for path in objects:
        inner = [(p, match) for p in sorted(path.iterdir()) if (match := SEED_NAME.fullmatch(p.name))]
        for sub, match in inner:
            found[path.name, int(match[1])] = sub
        if not inner:
            found[path.name, _stated_seed(path, seeds[0])] = path
    return found


def _stated_seed(folder: Path, default: int) -> int:
    try:
        seed = read_facts(folder)[1]
    except UserError:  # said again when the prediction is loaded, where it fails alone
        seed = None
    return default if seed is None else seed


def _holds_prediction(folder: Path) -> bool:
    """Is this one object's folder, rather than a method's?"""
    names = {*MESH_FILES, GAUSSIAN_FILE, "cameras.json", "prediction.json"}
    return any(
        p.name in names or IMAGE_NAME.fullmatch(p.name) or (p.is_dir() and SEED_NAME.fullmatch(p.name))
        for p in folder.iterdir()
    )
