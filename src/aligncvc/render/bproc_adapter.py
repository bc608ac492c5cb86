"""BlenderProc 2.8.0 on the `bpy` wheel, in this process, without its launcher.

The release insists on `blenderproc run`, which downloads Blender and installs packages into it with pip;
support for an external bpy module came after it.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

PACKAGE = "blenderproc"


def run_child(work: Callable[[dict[str, Any]], None]) -> NoReturn:
    """Do `work` with the job that the first argument names (JSON); exit status 1 after a traceback.

    2 without such a file: somebody started by hand what the render stage starts.
    """
    code = 1
    try:
        if len(sys.argv) == 2 and Path(sys.argv[1]).is_file():
            work(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
            code = 0
        else:
            print("error: other commands start this, with a job's file; use aligncvc render", file=sys.stderr)
            code = 2
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # Blender's module crashes when the interpreter shuts down


def load(temporary: Path) -> Any:
    """BlenderProc with an empty Cycles scene on the CPU. temporary: its folder for intermediate images."""
    os.environ["USE_EXTERNAL_BPY_MODULE"] = "1"
    os.environ["INSIDE_OF_THE_INTERNAL_BLENDER_PYTHON_ENVIRONMENT"] = "1"
    import bpy  # noqa: F401  (BlenderProc's modules expect it loaded, and mathutils comes with it)

    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.submodule_search_locations is None or spec.origin is None:
        raise ImportError("blenderproc is not installed in this environment")
    # A bare package of that name lets SetupUtility be imported before the package's own __init__ runs.
    bare = types.ModuleType(PACKAGE)
    bare.__path__ = list(spec.submodule_search_locations)
    sys.modules[PACKAGE] = bare
    try:
        utility = importlib.import_module(f"{PACKAGE}.python.utility.SetupUtility").SetupUtility
    finally:
        del sys.modules[PACKAGE]

    def setup(*_: Any, **__: Any) -> list[str]:
        """Install nothing, only set the temporary folder."""
        utility.main_setup_called = True
        utility.setup_utility_paths(str(temporary))
        return sys.argv

    utility.setup = staticmethod(setup)
    utility.setup_pip = staticmethod(lambda *_, **__: str(temporary))
    search_path, python_path = list(sys.path), os.environ.get("PYTHONPATH")
    # The package's first act is to remove its parent folder from sys.path, and it fails if it is not there.
    sys.path.append(str(Path(spec.origin).resolve().parents[1]))
    try:
        bproc = importlib.import_module(PACKAGE)
    finally:
        sys.path[:] = search_path
        if python_path is not None:
            os.environ["PYTHONPATH"] = python_path
    # `bproc.init()` without its language line, which raises in the wheel (it has no translations)
    initializer = importlib.import_module(f"{PACKAGE}.python.utility.Initializer")
    storage = importlib.import_module(f"{PACKAGE}.python.utility.GlobalStorage").GlobalStorage
    bproc.clean_up(clean_up_camera=True)
    bproc.renderer.set_render_devices(use_only_cpu=True)
    initializer._Initializer.set_default_parameters()
    storage.add("bproc_init_complete", True)
    return bproc
