"""The shipped systemd unit is valid and hardened."""

import errno
import platform
import re
import subprocess
import sys

import pytest

from tests.support import ROOT, require, require_program

# `systemd-analyze security` gives 0 (nothing is allowed) to 10; a plain unit has 9.6.
GREATEST_EXPOSURE = 1.5


@pytest.fixture
def unit(tmp_path):
    """The unit with a command that exists here; nothing else is changed."""
    text = (ROOT / "deploy" / "watchkeep.service").read_text()
    path = tmp_path / "watchkeep.service"
    path.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    return path


def test_the_unit_is_valid(unit):
    """No line of it is unknown to systemd."""
    analyze = require_program("systemd-analyze", install="systemd")
    run = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)

    assert (run.returncode, run.stderr) == (0, "")


def test_the_unit_exposes_little(unit):
    """Its exposure is as small as a service with a loopback port can have."""
    analyze = require_program("systemd-analyze", install="systemd")
    run = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for watchkeep\.service: ([0-9.]+)", run.stdout)

    assert found is not None, run.stdout + run.stderr
    assert float(found[1]) <= GREATEST_EXPOSURE


def test_the_unit_runs_a_command_that_exists():
    """ExecStart names a command and options that `watchkeep` has."""
    from daemon import cli

    text = (ROOT / "deploy" / "watchkeep.service").read_text()
    start = re.search(r"^ExecStart=\S+/watchkeep (.+)$", text, flags=re.MULTILINE)

    assert start is not None
    name, *arguments = start[1].split()
    parsed = cli.parser_of(cli.command_of(name)).parse_args(arguments)
    assert parsed.config == "/etc/watchkeep/config.toml"


# What the unit's filter takes away that a process for SQL asks for, by the numbers of this architecture.
SETPRIORITY, SETRLIMIT = 141, 160


def test_the_unit_lets_processes_for_sql_confine_themselves(tmp_path):
    """Landlock is allowed by name (older systemd knows no group for it), and what else is taken away is not missed."""
    text = (ROOT / "deploy" / "watchkeep.service").read_text()
    allowed = " ".join(re.findall(r"^SystemCallFilter=([^~].*)$", text, flags=re.MULTILINE)).split()
    assert {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"} <= set(allowed)

    require(platform.machine() == "x86_64", "the architecture whose system calls the test knows")
    log = tmp_path / "app-2026-11-20.log"
    log.write_text('{"eventId": "a", "timestamp": "2026-11-20T10:00:00Z"}\n')
    archive = str(tmp_path / "archive")
    watchkeep = [
        sys.executable,
        "-m",
        "tests.storage.refusing",
        str(errno.EPERM),
        f"{SETPRIORITY},{SETRLIMIT}",
    ]
    outputs = [
        subprocess.run(
            [*watchkeep, *command, "--archive", archive], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for command in (["ingest", str(log)], ["sql", "SELECT event_id FROM events"])
    ]
    assert outputs[-1] == '{"event_id":"a"}\n'
