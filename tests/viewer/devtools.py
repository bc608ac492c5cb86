"""A page in headless Chromium, driven through its DevTools pipe: fingers, clicks, dark mode, scripts."""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--use-angle=swiftshader", "--no-first-run",
    "--enable-unsafe-swiftshader", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE_S = 120.0
"""A busy machine is waited for; no test measures how long."""


class Page:
    """One page of a browser of its own, width x height pixels; touch: on a telephone."""

    def __init__(
        self, chromium: str, address: str, profile: Path, width: int, height: int, touch: bool = False
    ) -> None:
        inward, outward = os.pipe(), os.pipe()
        # out of the way of 3 and 4, which Chromium reads and writes
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (inward[0], outward[1])]

        def place() -> None:
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        command = [chromium, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(
            command, preexec_fn=place, pass_fds=(3, 4), stdout=quiet, stderr=quiet
        )
        for end in (inward[0], outward[1], *ends):
            os.close(end)
        self._write, self._read = inward[1], outward[0]
        self._rest, self._number, self._session = b"", 0, ""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.send("Emulation.setDeviceMetricsOverride", **size, mobile=touch)
        self.send("Emulation.setTouchEmulationEnabled", enabled=touch)
        self.send("Page.enable")
        self.send("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._write)
        os.close(self._read)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command, and what it returns."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                found = os.read(self._read, 1 << 20)
                assert found, "the browser is gone"
                self._rest += found
            line, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(line)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result

    def run(self, script: str) -> Any:
        """What an expression of the page comes to; a promise is waited for, a click may be the user's."""
        options = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        found = self.send("Runtime.evaluate", expression=script, **options)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, script: str) -> None:
        """Wait for an expression to become true."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.run(script):
            assert time.monotonic() < deadline, f"{script} did not become true"
            time.sleep(0.05)

    def settle(self) -> None:
        """Let the page draw what is due: two frames."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def pinch(self, x: int, y: int, gaps: Sequence[int]) -> None:
        """Two fingers, one above the other, the middle between them at (x, y), through these distances."""
        kinds = ["touchStart", *["touchMove"] * (len(gaps) - 1)]
        for kind, gap in zip(kinds, gaps, strict=True):
            fingers = [{"x": x, "y": y + end * gap / 2, "id": i} for i, end in enumerate((-1, 1))]
            self.send("Input.dispatchTouchEvent", type=kind, touchPoints=fingers)
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def picture(self) -> np.ndarray:
        """What is seen, (height, width, 3) in 0..255."""
        self.settle()
        data = self.send("Page.captureScreenshot", format="png")["data"]
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            return np.asarray(image.convert("RGB")).astype(float)
