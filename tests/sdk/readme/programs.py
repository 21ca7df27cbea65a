"""Runs a block of the README as its reader would, but against the gateway under test."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

from servers import GATEWAY
from waiting import until

SDK = pathlib.Path(__file__).resolve().parent.parent
OFFPEAK = SDK.parent.parent / "target" / "debug" / "offpeak"

# How long a program may take that ends by itself; none comes near it.
END_LIMIT_SECONDS = 60
# How long one may take to end when it is told to.
STOP_LIMIT_SECONDS = 40


class Program:
    """A running program: what it has printed, and how it ended."""

    def __init__(self, command, folder: pathlib.Path, environment: dict[str, str]):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "OFFPEAK_"))}
        self.complaints = folder / "stderr"
        with self.complaints.open("wb") as stderr:
            # A group of its own, so that what it starts ends with it.
            self.process = subprocess.Popen(
                command, cwd=folder, env=inherited | environment, text=True, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
            )  # fmt: skip
        self.lines: list[str] = []
        self.reading = threading.Thread(target=self.read)
        self.reading.start()

    def read(self) -> None:
        with self.process.stdout:
            for line in self.process.stdout:
                self.lines.append(line.rstrip("\n"))

    def printed(self, count: int) -> list[str]:
        """What it has printed, as soon as there are so many lines."""
        until(lambda: len(self.lines) >= count or self.process.poll() is not None, bool)
        assert len(self.lines) >= count, self.complaints.read_text()
        return list(self.lines)

    def ended(self) -> str:
        """All that it has printed, when it has ended well by itself."""
        status = self.process.wait(END_LIMIT_SECONDS)
        self.reading.join()
        assert status == 0, self.complaints.read_text()
        return "\n".join(self.lines)

    def stop(self) -> None:
        """Ends what is still running, with all that it has started."""
        limit = time.monotonic() + STOP_LIMIT_SECONDS
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        while time.monotonic() < limit:
            self.process.poll()
            try:
                os.killpg(self.process.pid, 0)
            except ProcessLookupError:
                break
            time.sleep(0.02)
        else:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.reading.join()


class Bench:
    """A folder to run blocks in, and the credential that they use."""

    def __init__(self, folder: pathlib.Path, key: str):
        self.folder, self.key, self.running = folder, key, []

    def start(self, block, replaced: dict[str, str] | None = None, **environment: str) -> Program:
        """Starts a block, with the addresses and names replaced that a reader would have to replace as well."""
        text = block.text
        for written, meant in ({"http://127.0.0.1:8100": GATEWAY} | (replaced or {})).items():
            text = text.replace(written, meant)
        credential = {"ANTHROPIC_API_KEY": self.key, "PYTHONUNBUFFERED": "1"}
        program = Program(getattr(self, block.language)(text), self.folder, credential | environment)
        self.running.append(program)
        return program

    def run(self, block, replaced: dict[str, str] | None = None, **environment: str) -> str:
        """What a block prints that ends by itself."""
        return self.start(block, replaced, **environment).ended()

    def python(self, text: str):
        script = self.folder / "block.py"
        script.write_text(text)
        return [sys.executable, "-W", "error", script]

    def sh(self, text: str):
        return ["bash", "-euo", "pipefail", "-c", text]

    def typescript(self, text: str):
        """Compiled first, so that it is also right by its types."""
        (self.folder / "package.json").write_text('{"type":"module"}')
        if not (self.folder / "node_modules").exists():
            (self.folder / "node_modules").symlink_to(SDK / "node_modules")
        (self.folder / "block.ts").write_text(text)
        options = ["--strict", "--target", "es2022", "--module", "nodenext", "--types", "node", "--skipLibCheck"]
        compiled = subprocess.run(
            [SDK / "node_modules" / ".bin" / "tsc", *options, "block.ts"], cwd=self.folder, capture_output=True, text=True
        )
        assert compiled.returncode == 0, compiled.stdout + compiled.stderr
        return ["node", self.folder / "block.js"]

    def stop(self) -> None:
        for program in self.running:
            program.stop()


def commands(text: str) -> list[str]:
    """The commands of a block of one a line, without their comments."""
    return [re.sub(r"\s+#.*", "", line).strip() for line in text.splitlines() if line.strip()]
