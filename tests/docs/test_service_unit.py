"""The shipped systemd unit is valid and hardened."""

import re
import subprocess

import pytest

from tests.support import ROOT, require_program

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
