"""The commit that a page or a verdict was made at."""

from __future__ import annotations

import subprocess

from aligncvc.files import PROJECT_ROOT


def commit() -> str:
    """The checkout's commit, with a word if files of it were changed since; "unknown" without git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(PROJECT_ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        head = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "src", "config", "workflow")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + (" with changes" if changed else "")
