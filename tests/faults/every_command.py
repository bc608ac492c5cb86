"""Each command once in a folder that is not there yet: `python tests/faults/every_command.py FOLDER`.

Not those that fetch. Stops at the first that fails, with what it said.
"""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.extend(str(TESTS / name) for name in ("align", "faults", "objects", "scale"))

from fault_commands import COMMANDS, prepared  # noqa: E402
from fault_runs import run  # noqa: E402
from fault_world import write_world  # noqa: E402


def main(folder: Path) -> None:
    """Where one command reads what another writes, it lies where the world has it."""
    folder.mkdir()
    write_world(folder)
    places = {"sample": "sample", "evaluate": "metrics/tiny"}
    for command in COMMANDS:
        if "s.yaml" in command.line:
            continue
        out = prepared(command, folder, folder / places.get(str(command), f"out-{command}"))
        outcome = run(command.line, folder, out)
        if outcome.status:
            raise SystemExit(f"{command} ended with {outcome.status}: {outcome.said}")
        print(command, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
