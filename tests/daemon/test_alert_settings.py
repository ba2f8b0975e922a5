"""The tables of `[alerts]`: secrets are refused and never repeated, mistakes are said with what to do."""

from __future__ import annotations

import subprocess
import sys

import pytest

from daemon import options
from daemon.configerror import ConfigError
from daemon.doctor import receivers
from daemon.findings import Patient
from daemon.origins import load
from tests.support import ROOT

SECRET = "hunter2hunter2"


def read(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load(str(path), {"THE_SECRET": SECRET}).settings


@pytest.mark.parametrize(
    "line",
    [
        f'type = "webhook"\nurl = "http://h/x"\nsecret = "{SECRET}"',
        'type = "webhook"\nurl = "http://h/x"\nsecret = "${THE_SECRET}"',
        f'type = "webhook"\nurl = "http://h/x?token={SECRET}"',
        f'type = "webhook"\nurl = "http://user:{SECRET}@h/x"',
        f'type = "slack"\nurl = "https://hooks.slack.com/services/{SECRET}"',
        f'type = "teams"\nurl = ["{SECRET}"]',
        f'type = "pagerduty"\nrouting_key = "{SECRET}"',
        f'type = "email"\nhost = "h"\nsender = "a@b"\nto = ["c@d"]\npassword = "{SECRET}"',
        f'type = "apprise"\nurl = "tgram://{SECRET}/1"',
    ],
)
def test_a_secret_in_the_file_is_refused_with_a_way_out_and_never_repeated(tmp_path, line):
    """The message names the two ways; neither it nor `check-config` shows the value."""
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, f'[[alerts.channels]]\nname = "c"\n{line}\n')
    assert "_file = a file that holds it" in str(refused.value)
    assert SECRET not in str(refused.value)
    checked = subprocess.run(
        [
            sys.executable,
            str(ROOT / "watchkeep.py"),
            "check-config",
            "--config",
            str(tmp_path / "config.toml"),
        ],
        capture_output=True,
        text=True,
        env={"THE_SECRET": SECRET},
        check=False,
    )
    assert checked.returncode == 3
    assert SECRET not in checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[alerts]\nreceivers = ["ops"]', "no channel is called 'ops'"),
        ('[[alerts.routes]]\nchannels = ["ops"]', "no channel is called 'ops'"),
        ('[[alerts.routes]]\nmatch = ["level~high"]', "is no matcher"),
        ('[[alerts.routes]]\nmatch = ["user=~("]', "no regular expression of RE2"),
        ('[[alerts.channels]]\nname = "c"\ntype = "fax"', "no channel type is called 'fax'"),
        ('[[alerts.channels]]\nname = "c"\ntype = "slack"', "needs url_file or url_env"),
        ('[[alerts.channels]]\nname = "c"\ntype = "pagerduty"', "needs secret_file or secret_env"),
        ('[[alerts.channels]]\nname = "c"\ntype = "email"', "needs host, sender, to"),
        ('[[alerts.channels]]\nname = "c"\ntype = "webhook"\nurl = "ftp://h"', "should begin with https://"),
        (
            '[alerts]\nheartbeat = "c"\n[[alerts.channels]]\nname = "c"\ntype = "slack"\nurl_env = "X"',
            "is of type slack",
        ),
    ],
)
def test_a_mistake_is_said(tmp_path, text, said):
    """What is wrong, in the words of the file."""
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, text)
    assert said in str(refused.value)


def test_what_the_file_says_is_what_is_done(tmp_path):
    """Channels, routes with the rest behind them, inhibitions, quiet sources; paths count from the file's folder."""
    settings = read(
        tmp_path,
        """
        [alerts]
        heartbeat = "beat"
        [[alerts.channels]]
        name = "ops"
        type = "slack"
        url_file = "slack.url"
        [[alerts.channels]]
        name = "beat"
        type = "webhook"
        url = "https://deadman.example/x"
        [[alerts.routes]]
        match = ['level="critical"', "user_id!=7"]
        channels = ["ops"]
        group_wait_seconds = 0.0
        go_on = true
        [[alerts.inhibitions]]
        source = ["level=critical"]
        target = ["level=low"]
        equal = ["user_id"]
        [[alerts.quiet_sources]]
        files = "app-*"
        minutes = 15
        """,
    )
    made = options.teller_options(settings)
    assert made.channels[0].url_file == str(tmp_path / "slack.url")
    first, rest = made.routes
    assert (first.wait_us, first.go_on, len(first.matchers)) == (0, True, 2)
    assert rest.channels == ("ops",)  # not the heartbeat's
    assert made.quiet[0].within_us == 900_000_000
    assert made.inhibitions[0].equal == ("user.id",)


def test_the_doctor_says_which_secret_is_missing_or_open_to_everybody(tmp_path):
    """Before the first alert, not with it."""
    settings = read(
        tmp_path,
        """
        [[alerts.channels]]
        name = "gone"
        type = "slack"
        url_file = "gone.url"
        [[alerts.channels]]
        name = "open"
        type = "slack"
        url_file = "open.url"
        [[alerts.channels]]
        name = "fine"
        type = "slack"
        url_file = "fine.url"
        """,
    )
    for name, mode in (("open", 0o644), ("fine", 0o600)):
        (tmp_path / f"{name}.url").write_text(SECRET)
        (tmp_path / f"{name}.url").chmod(mode)
    found = list(receivers(Patient(settings, None)))
    assert [(one.state, one.what.split(",")[0]) for one in found] == [
        ("failed", "url_file of channel gone"),
        ("warning", "url_file of channel open can be read by everybody on this machine"),
    ]
    assert SECRET not in str(found)
