"""Hub data sets, against a local server that answers as the Hub does."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

COMMIT = "a" * 40
FILES = {
    "train.jsonl": b'{"text": "good", "label": "pos"}\n{"text": "bad", "label": "neg"}\n',
    "test.jsonl": b'{"text": "nice", "label": "pos"}\n',
}
# The Hub's address is read when huggingface_hub is imported, so every test runs a process of its own.
SCRIPT = """
import json, sys, time
waited = []
time.sleep = waited.append  # between a library's tries
from nlptk.data import load_splits
from nlptk.errors import DataError
from nlptk.recipe import DataSettings
from nlptk.task import Column
columns = (Column("text", "text", ("text",)), Column("label", "label", ("label",), target=True))
try:
    report = load_splits(DataSettings(train=sys.argv[1], validation="none"), columns, seed=0).report
    print(json.dumps({"rows": report.rows, "names": [s["name"] for p in report.sources.values() for s in p]}))
except DataError as error:
    print(json.dumps({"error": str(error), "waited": len(waited)}))
"""


class _Hub(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        path, headers = self.path.split("?")[0], {}
        body = None
        name = path.rsplit("/", 1)[1]
        if "/resolve/" in path and name in FILES and "me/tiny" in path:
            body = FILES[name]
            headers = {"ETag": f'"{hashlib.sha1(body).hexdigest()}"', "X-Repo-Commit": COMMIT}
        elif path.endswith("/data"):  # the folder of that name, which the data set does not have
            body = None
        elif path.startswith("/api/datasets/me/tiny/tree/"):
            listed = [
                {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for file, content in FILES.items()
            ]
            body = json.dumps(listed).encode()
        elif path.startswith("/api/datasets/me/tiny"):
            siblings = [{"rfilename": file} for file in FILES]
            body = json.dumps({"id": "me/tiny", "sha": COMMIT, "private": False, "siblings": siblings}).encode()
        self.send_response(404 if body is None else 200)
        if body is None:
            headers["X-Error-Code"] = "EntryNotFound" if "me/tiny" in path else "RepoNotFound"
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        if body is not None and self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = _answer  # noqa: N815 (the names http.server looks for)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def _load(name: str, tmp_path: Path, **environment: str) -> dict[str, Any]:
    online = {"HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0"}
    own = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1", **online}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, name],
        env={**os.environ, **own, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_hub_data_set_offers_its_splits(hub: str, tmp_path: Path) -> None:
    found = _load("me/tiny", tmp_path, HF_ENDPOINT=hub)
    assert found == {"rows": {"train": 2, "test": 1}, "names": ["me/tiny[train]", "me/tiny[test]"]}


def test_an_unknown_hub_data_set_is_a_data_error(hub: str, tmp_path: Path) -> None:
    found = _load("me/nothing", tmp_path, HF_ENDPOINT=hub)
    assert "me/nothing: no such file or folder" in found["error"]
    assert "the Hub has no such data set" in found["error"]


def test_without_a_connection_the_error_speaks_of_the_file_and_of_the_hub(tmp_path: Path) -> None:
    found = _load("me/tiny", tmp_path, HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:9")
    assert "me/tiny: no such file or folder" in found["error"]
    assert "the Hub" in found["error"]


def test_a_hub_that_does_not_answer_is_asked_once(tmp_path: Path) -> None:
    """huggingface_hub's own tries, with the waiting between them, would take 23 s."""
    found = _load("me/tiny", tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert "the Hub does not answer" in found["error"]
    assert found["waited"] == 0


def test_a_data_set_that_was_loaded_before_comes_from_the_cache(hub: str, tmp_path: Path) -> None:
    first = _load("me/tiny", tmp_path, HF_ENDPOINT=hub)
    again = _load("me/tiny", tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert again == first
