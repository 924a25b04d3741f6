"""A real Label Studio server for tests, and what a person does there, as calls of its API."""

import json
import os
import secrets
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SERVE = Path(__file__).with_name("serve.py")
EMAIL = "person@example.org"
START_SECONDS = 600
QUIET = {
    "COLLECT_ANALYTICS": "false",
    "LATEST_VERSION_CHECK": "false",
    "FRONTEND_SENTRY_DSN": "",
    "SENTRY_DSN": "",
    "LOG_LEVEL": "WARNING",
}
"""Nothing is sent anywhere; the server asks nobody for a newer version of itself."""


class Server:
    """A server that runs.

    Attributes:
        address: "http://..." without a slash at its end.
        password: of the one account, :data:`EMAIL`.
    """

    def __init__(self, address: str, password: str, token: str):
        self.address, self.password, self._token = address, password, token

    def call(self, method: str, path: str, content: Any = None, seconds: float = 60) -> Any:
        """The answer of a call of the API, read as JSON where it is some, else as bytes."""
        request = urllib.request.Request(
            self.address + path,
            method=method,
            headers={"Authorization": f"Token {self._token}", "Content-Type": "application/json"},
            data=None if content is None else json.dumps(content).encode(),
        )
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                data = answer.read()
                is_json = answer.headers.get_content_type() == "application/json"
        except urllib.error.HTTPError as error:
            told = error.read()[:500].decode(errors="replace")
            raise AssertionError(f"Label Studio: {method} {path}: {error.code} {told}") from error
        return json.loads(data) if is_json and data else data

    def import_package(self, folder: Path) -> "Project":
        """A project with a package's interface, images and tasks, as docs/annotation.md has it."""
        interface = (folder / "label_studio.xml").read_text()
        content = {"title": "regions", "label_config": interface}
        number = self.call("POST", "/api/projects", content)["id"]
        storage = {"project": number, "path": str(folder / "images"), "use_blob_urls": True}
        self.call("POST", "/api/storages/localfiles", storage)
        tasks = json.loads((folder / "label_studio.json").read_text())
        told = self.call("POST", f"/api/projects/{number}/import", tasks)
        assert told["task_count"] == told["prediction_count"] == len(tasks), told
        return Project(self, number)


class Project:
    """A project of a server."""

    def __init__(self, server: Server, number: int):
        self.server, self.number = server, number

    def tasks(self) -> list[dict[str, Any]]:
        """All tasks with their predictions and annotations, in the order of the import."""
        listed = self.server.call("GET", f"/api/tasks?project={self.number}&page_size=1000")
        numbers = sorted(task["id"] for task in listed["tasks"])
        return [self.server.call("GET", f"/api/tasks/{number}") for number in numbers]

    def submit(self, task: int, result: list[dict[str, Any]], **more: Any) -> int:
        """Submit an annotation of a task; returns its number."""
        content = {"result": result, **more}
        return self.server.call("POST", f"/api/tasks/{task}/annotations", content)["id"]

    def change(self, annotation: int, result: list[dict[str, Any]]) -> None:
        """Change an annotation that was submitted before, as "Update" does."""
        self.server.call("PATCH", f"/api/annotations/{annotation}", {"result": result})

    def save_draft(self, task: int, result: list[dict[str, Any]]) -> None:
        """What the page does by itself while a person draws and has not submitted."""
        self.server.call("POST", f"/api/tasks/{task}/drafts", {"result": result})

    def kinds(self) -> list[str]:
        """The formats that the server offers for an export."""
        offered = self.server.call("GET", f"/api/projects/{self.number}/export/formats")
        return [kind["name"] for kind in offered if not kind.get("disabled")]

    def export(self, kind: str, path: Path) -> Path:
        """Save an export in a format; the path gets the suffix that a browser gives it."""
        address = f"/api/projects/{self.number}/export?exportType={kind}"
        content = self.server.call("GET", address)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        suffix = ".zip" if data.startswith(b"PK") else ".json" if data[:1] in b"[{" else ".csv"
        path = path.with_name(path.name + suffix)
        path.write_bytes(data)
        return path


@contextmanager
def running_server(python: Path, folder: Path, documents: Path) -> Iterator[Server]:
    """A server of its own on a free port of this machine, ended at the end of the block.

    Args:
        python: of the environment that has Label Studio.
        folder: of its own, for the database and the log.
        documents: below which it may serve files.
    """
    password, token = secrets.token_hex(8), secrets.token_hex(20)
    port = _free_port()
    arguments = {
        "--port": port,
        "--internal-host": "127.0.0.1",
        "--data-dir": folder,
        "--username": EMAIL,
        "--password": password,
        "--user-token": token,
    }
    settings = {
        "HOME": str(folder),  # where it writes a settings file, too
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(documents),
    }
    command = [python, SERVE, "start", "--no-browser", "--enable-legacy-api-token"]
    command += [part for pair in arguments.items() for part in pair]
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | QUIET | settings,
            start_new_session=True,  # Ctrl-C is for the tests, which end the server in their order
        )
        try:
            server = Server(f"http://127.0.0.1:{port}", password, token)
            _wait(server, process, log)
            yield server
        finally:
            process.stdin.close()
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return tried.getsockname()[1]


def _wait(server: Server, process: subprocess.Popen, log: Path) -> None:
    """Wait until the server answers to its token, which another one on that port does not."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            server.call("GET", "/api/projects", seconds=10)
            return
        except OSError:
            time.sleep(0.5)
    last = log.read_text(errors="replace")[-2000:]
    raise AssertionError(f"Label Studio did not start in {START_SECONDS} seconds:\n{last}")
