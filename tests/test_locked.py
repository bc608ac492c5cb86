"""`files.locked`: a folder that several processes fill is filled by one at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from aligncvc.files import locked

APPEND = """
import sys, time
from pathlib import Path
from aligncvc.files import locked
folder = Path(sys.argv[1])
with locked(folder):
    before = (folder / "count").read_text()
    time.sleep(0.2)
    (folder / "count").write_text(before + "x")
"""


def test_processes_enter_one_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("")
    running = [subprocess.Popen([sys.executable, "-c", APPEND, str(tmp_path)]) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "xxx"


def test_the_lock_makes_its_folder_and_is_free_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with locked(tmp_path / "new"):
            assert (tmp_path / "new").is_dir()
