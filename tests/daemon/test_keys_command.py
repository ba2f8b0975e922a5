"""`watchkeep keys` beside a running daemon and without one, and what a daemon does because of it."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from daemon.command import Exit
from storage.keyring import TOKEN
from tests.daemon.test_service import PATIENCE_SECONDS, Process, serving
from tests.support import ROOT


def watchkeep(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the folder's archive."""
    command = [sys.executable, str(ROOT / "watchkeep.py"), *arguments, "--archive", str(folder / "archive")]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )


def create(folder: Path, name: str, *options: str) -> str:
    """Make a key and return it; it is all that stands on standard output."""
    done = watchkeep(folder, "keys", "create", "--name", name, *options)
    assert done.returncode == Exit.OK, done.stderr
    assert TOKEN.fullmatch(done.stdout.strip())
    assert "shown this once" in done.stderr
    return done.stdout.strip()


def asked(it: Process, path: str, token: str | None = None, method: str = "GET") -> tuple[int, Any]:
    """Return status and body of a request, with a key or without."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(it.url() + path, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_a_key_works_from_its_making_to_its_end_beside_a_running_daemon(tmp_path: Path) -> None:
    """At once, without a restart; commands of the daemon's own user go on without a key; no file holds a secret."""
    with serving(tmp_path) as it:
        it.append("e-1")
        it.until_events(1)
        admin = create(tmp_path, "ops", "--role", "admin")
        viewer = create(tmp_path, "team", "--role", "viewer", "--expires", "1d")
        assert asked(it, "/events")[0] == 401
        assert asked(it, "/events", admin)[1]["total"] == 1
        assert asked(it, "/events", viewer)[0] == 200
        assert asked(it, "/events/cleanup", viewer, "DELETE")[0] == 403
        assert asked(it, "/events/cleanup", admin, "DELETE")[0] == 200
        found = watchkeep(tmp_path, "query", "--json")
        assert [json.loads(line)["eventId"] for line in found.stdout.splitlines()] == ["e-1"]
        assert watchkeep(tmp_path, "keys", "revoke", "team").returncode == Exit.OK
        assert asked(it, "/events", viewer)[0] == 401
        listed = json.loads(watchkeep(tmp_path, "keys", "list", "--json").stdout)["keys"]
        assert [(key["name"], key["state"]) for key in listed] == [("ops", "active"), ("team", "revoked")]
        assert all(key["used"].endswith(":00:00Z") for key in listed)
        own = asked(it, "/events?internal=only&category=authorization&entity_type=api_key", admin)[1]["data"]
        said = [(event["action"], event["entity"]["name"]) for event in reversed(own)]
        assert said == [("create", "ops"), ("create", "team"), ("delete", "team")]
        assert it.stop() == 0
    secrets = [token.rpartition("_")[2].encode() for token in (admin, viewer)]
    for folder, _, names in os.walk(tmp_path):
        for name in names:
            path = Path(folder) / name
            if path.is_file():
                assert not any(secret in path.read_bytes() for secret in secrets), path


def test_a_daemon_that_others_reach_starts_only_with_a_key(tmp_path: Path) -> None:
    """It says which command makes one; that command works before there is an archive; commands still find the way."""
    environment = {"WATCHKEEP__WEB__HOST": "0.0.0.0"}
    with serving(tmp_path, **environment) as it:
        assert it.process.wait(timeout=PATIENCE_SECONDS) == Exit.CONFIG
        assert "watchkeep keys create --name NAME --role admin" in it.log.read_text()
    assert not (tmp_path / "archive").exists()
    token = create(tmp_path, "first", "--role", "admin")
    with serving(tmp_path, **environment) as it:
        it.log.write_text("")
        it.append("e-1")
        port = it.url().rpartition(":")[2]
        it.url = lambda: f"http://127.0.0.1:{port}"  # type: ignore[method-assign]
        assert asked(it, "/events")[0] == 401
        assert asked(it, "/status", token)[0] == 200
        assert watchkeep(tmp_path, "query", "--json").returncode == Exit.OK
        assert it.stop() == 0
    watchkeep(tmp_path, "keys", "revoke", "first")
    with serving(tmp_path, **environment) as it:
        assert it.process.wait(timeout=PATIENCE_SECONDS) == Exit.CONFIG


def test_the_event_of_a_key_made_without_a_daemon_is_archived_by_the_next(tmp_path: Path) -> None:
    """The trail has no hole where nobody was there to write it."""
    token = create(tmp_path, "early", "--role", "auditor", "--scope", "export,sql", "--user", "7")
    with serving(tmp_path) as it:
        it.append("e-1")
        found: list[dict[str, Any]] = []
        for _ in range(100):
            found = asked(it, "/events?internal=only&entity_type=api_key", token)[1]["data"]
            if found:
                break
            time.sleep(0.05)
        (event,) = found
        assert event["metadata"]["scopes"] == ["export", "sql"]
        assert event["outcome"] == "success"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "--name", "x"), "--role"),
        (("create", "--role", "admin"), "needs a name"),
        (("create", "--name", "x", "--role", "admin", "--expires", "soon"), "90d"),
        (("create", "--name", "x", "--role", "admin", "--expires", "2020-01-01"), "is over"),
        (("create", "--name", "x", "--role", "admin", "--scope", "all"), "export, sql"),
        (("revoke",), "needs a name"),
    ],
)
def test_what_cannot_be_meant_is_said_in_the_words_of_the_options(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    """Nothing is written."""
    done = watchkeep(tmp_path, "keys", *arguments)
    assert (done.returncode, said in done.stderr) == (Exit.USAGE, True), done.stderr
    assert not (tmp_path / "archive").exists()


def test_a_key_that_is_not_there_cannot_be_revoked(tmp_path: Path) -> None:
    """And says where the names are."""
    done = watchkeep(tmp_path, "keys", "revoke", "nobody")
    assert (done.returncode, "keys list" in done.stderr) == (Exit.ARCHIVE, True)


def test_a_damaged_file_of_keys_keeps_the_daemon_from_starting(tmp_path: Path) -> None:
    """Without it everybody on this machine would be the administrator again."""
    create(tmp_path, "ops", "--role", "admin")
    (tmp_path / "archive" / "nodes" / "main" / "keys.json").write_text("{")
    with serving(tmp_path) as it:
        assert it.process.wait(timeout=PATIENCE_SECONDS) == Exit.ARCHIVE
        assert "keys" in it.log.read_text()


def test_doctor_says_what_is_wrong_with_keys(tmp_path: Path) -> None:
    """A reachable address without one, one that ends soon, a file that others may read: each with what to do."""

    def said(**environment: str) -> dict[str, str]:
        command = [
            sys.executable,
            str(ROOT / "watchkeep.py"),
            "doctor",
            "--json",
            "--archive",
            str(tmp_path / "archive"),
        ]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **environment},
        )
        found = json.loads(done.stdout)["checks"]
        return {f["what"]: f["state"] for f in found if f["check"] == "keys"}

    assert said() == {}
    everywhere = {"WATCHKEEP__WEB__HOST": "0.0.0.0"}
    assert said(**everywhere) == {"others reach 0.0.0.0 and there is no valid key": "failed"}
    create(tmp_path, "ops", "--role", "admin")
    assert said() == {"1 valid keys": "ok"}
    assert "keys travel readable to 0.0.0.0" in said(**everywhere)
    create(tmp_path, "soon", "--role", "viewer", "--expires", "5d")
    assert said() == {"expiring within two weeks: soon": "warning"}
    (tmp_path / "archive" / "nodes" / "main" / "keys.json").chmod(0o640)
    assert any(what.startswith("others than") for what in said())
