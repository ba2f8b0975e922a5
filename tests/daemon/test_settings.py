"""Settings: where values come from, what is refused and how it is said, and that the documents follow the models."""

import itertools
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, SecretStr

from daemon import reference
from daemon.configerror import ConfigError
from daemon.options import roots
from daemon.origins import load
from daemon.reach import MASKED, MASKED_KEYS
from daemon.settings import Settings, keys, reloadable
from daemon.toml import positions, spelled
from storage.treatments import DEFAULT_KEYS, TREATMENTS
from tests.support import ROOT


def _problems(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load(str(file), environ or {})
    return [str(problem).replace(str(tmp_path) + "/", "") for problem in raised.value.problems]


def test_shipped_file_equals_the_defaults() -> None:
    """Deleting any line of config.toml changes nothing, and every key is in it."""
    text = (ROOT / "config.toml").read_text()
    document = tomllib.loads(text)
    assert Settings.model_validate(document) == Settings()
    for key in keys():
        if key.table is not None:
            assert f"\n# [[{key.dotted}]]\n" in text
        elif key.info.get_default() is None:
            assert f"\n# {key.name} = " in text
        else:
            assert key.name in document[key.section]


def test_every_key_of_the_shipped_file_has_its_meaning_above_it() -> None:
    """A reader of config.toml needs no second page."""
    lines = (ROOT / "config.toml").read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        if " = " in line and line[0] not in "#[" and not line.startswith(" "):
            assert before.startswith("# "), line


def test_documents_are_what_the_models_say() -> None:
    """config.toml and the reference pages are generated; nobody edits them by hand."""
    assert reference.outdated() == []


def test_commented_examples_of_the_shipped_file_are_valid() -> None:
    """What a reader uncomments works."""
    text = "\n".join(
        line.removeprefix("# ") if line.startswith(("# log_file = ", "# log_file_days")) else line
        for line in (ROOT / "config.toml").read_text().splitlines()
    )
    settings = Settings.model_validate(tomllib.loads(text))
    assert settings.retention.log_file_days == 30
    assert settings.daemon.log_file == "watchkeep.log"


def test_later_sources_win_and_each_value_knows_where_it_came_from(tmp_path: Path) -> None:
    """Default, file, the original's variable, our variable, command line."""
    file = tmp_path / "config.toml"
    file.write_text(
        "[retention]\nevent_days = 30\ncleanup_hour = 4\n\n[web]\nport = 9000\npage_limit = 100\n"
    )
    environ = {
        "EVENT_CLEANUP_DAYS": "60",
        "EVENT_PAGINATION_LIMIT": "200",
        "WATCHKEEP__WEB__PAGE_LIMIT": "300",
        "WATCHKEEP__WEB__PORT": "9001",
    }
    loaded = load(str(file), environ, overrides={"archive.path": "elsewhere"})
    settings = loaded.settings
    assert (settings.retention.event_days, settings.retention.cleanup_hour) == (60, 4)
    assert (settings.web.page_limit, settings.web.port) == (300, 9001)
    assert settings.archive.path == os.path.abspath("elsewhere")
    assert loaded.origins["retention.event_days"] == "environment EVENT_CLEANUP_DAYS"
    assert loaded.origins["retention.cleanup_hour"] == f"{file}:3"
    assert loaded.origins["web.page_limit"] == "environment WATCHKEEP__WEB__PAGE_LIMIT"
    assert loaded.origins["archive.path"] == "command line"
    assert loaded.origins["web.host"] == "default"


def test_the_original_systems_variables_keep_their_meaning(tmp_path: Path) -> None:
    """Whoever has these five set need change nothing."""
    environ = {
        "LOG_LEVEL": "WARN",
        "LOG_FILE_RETENTION_DAYS": "30",
        "EVENT_CLEANUP_DAYS": "90",
        "EVENT_PAGINATION_LIMIT": "500",
        "STATISTICS_CACHE_SECONDS": "15",
    }
    file = tmp_path / "config.toml"
    file.touch()
    settings = load(str(file), environ).settings
    assert settings.daemon.log_level == "warning"
    assert settings.retention.log_file_days == 30
    assert settings.retention.event_days == 90
    assert settings.web.page_limit == 500
    assert settings.web.statistics_cache_seconds == 15


def test_without_a_variable_log_files_are_never_removed() -> None:
    """Only an explicit number of days removes an application's files."""
    assert Settings().retention.log_file_days is None


def test_every_problem_is_reported_at_once_with_its_line(tmp_path: Path) -> None:
    """One run of check-config is enough to repair a file."""
    problems = _problems(
        tmp_path,
        '[web]\nhost = "example.org"\nprot = 80\nport = "x"\n[wbe]\na = 1\n'
        '[logs]\ninclude = [\n  "a",\n  "b"]\ntimezone = "Mars/Olympus"\n[archive]\nnode = "${ABSENT}"\n',
        {"EVENT_CLEANUP_DAYS": "soon", "WATCHKEEP__WEB__PRT": "1"},
    )
    expected = [
        ("config.toml:2: web.host:", "is no address"),
        ("config.toml:3: web.prot:", "did you mean port?"),
        ("config.toml:4: web.port:", "integer"),
        ("config.toml:5: wbe:", "did you mean web?"),
        ("config.toml:11: logs.timezone:", "Europe/Berlin"),
        ("config.toml:13: archive.node:", "ABSENT is not set"),
        ("environment EVENT_CLEANUP_DAYS: retention.event_days:", "integer"),
        ("environment WATCHKEEP__WEB__PRT:", "did you mean WATCHKEEP__WEB__PORT?"),
    ]
    assert len(problems) == len(expected)
    for start, part in expected:
        assert [problem for problem in problems if problem.startswith(start) and part in problem], start


@pytest.mark.parametrize("host", ["example.org", "10.0.0", ""])
def test_a_host_that_is_no_address_is_refused(tmp_path: Path, host: str) -> None:
    """A name could become another address tomorrow."""
    (problem,) = _problems(tmp_path, f'[web]\nhost = "{host}"\n')
    assert "is no address" in problem


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('trusted_proxies = ["everybody"]', "neither an address nor a network"),
        ('trusted_proxies = ["0.0.0.0/0"]', "anybody"),
        ('trusted_header = "Authorization"', "cannot be that header"),
        ('trusted_header = "X User"', "cannot be that header"),
        ('trusted_roles = { ops = "root" }', "'viewer', 'auditor' or 'admin'"),
        ('trusted_header = "X-U"\ntrusted_roles = { ops = "admin" }', "no proxy is trusted"),
        ('trusted_header = "X-U"\ntrusted_proxies = ["::1"]', "nobody that it names has a role"),
        ('trusted_roles = { ops = "admin" }', "it needs trusted_header"),
        ('masked = ["level"]', "cannot be masked"),
    ],
)
def test_access_that_would_open_or_close_by_mistake_is_refused(tmp_path: Path, lines: str, said: str) -> None:
    """Half a configuration of who may ask is worse than none."""
    assert any(said in problem for problem in _problems(tmp_path, f"[web]\n{lines}\n"))


def test_what_is_masked_is_spelled_the_same_twice() -> None:
    """The settings cannot import the columns, which take too long for `--help`."""
    assert tuple(TREATMENTS) == MASKED
    assert DEFAULT_KEYS == MASKED_KEYS


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_loopback_addresses_are_accepted(tmp_path: Path, host: str) -> None:
    """Every spelling of this machine."""
    file = tmp_path / "config.toml"
    file.write_text(f'[web]\nhost = "{host}"\n')
    assert load(str(file), {}).settings.web.host == host


def test_values_are_not_bent_into_shape(tmp_path: Path) -> None:
    """A number in quotes, a fraction or a truth value is a mistake in the file, not a number of days."""
    problems = _problems(
        tmp_path,
        '[retention]\nevent_days = "90"\ncleanup_hour = 3.5\n[web]\nport = true\n[redaction]\nenabled = 1\n',
    )
    assert len(problems) == 4


def test_a_file_that_is_no_toml_is_reported_with_its_line(tmp_path: Path) -> None:
    """The reader's position is the person's position."""
    (problem,) = _problems(tmp_path, "[web]\nport = 1\nhost = oops\n")
    assert problem.startswith("config.toml:3: is no valid TOML")


def test_a_missing_file_is_an_error_when_it_was_named(tmp_path: Path) -> None:
    """A typo in --config must not start the daemon with defaults."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load(str(tmp_path / "absent.toml"), {})


def test_relative_paths_count_from_the_folder_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the daemon is started from does not matter for what the file says; for variables it does."""
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "config.toml").write_text('[logs]\ndirectories = ["../logs", "/abs"]\n')
    monkeypatch.chdir(tmp_path)
    settings = load("etc/config.toml", {"WATCHKEEP__ARCHIVE__PATH": "arch"}).settings
    assert settings.logs.directories == (str(tmp_path / "logs"), "/abs")
    assert settings.archive.path == str(tmp_path / "arch")


def test_the_archive_may_not_lie_where_logs_are_read(tmp_path: Path) -> None:
    """The daemon would follow its own files for ever."""
    problems = _problems(
        tmp_path,
        '[logs]\ndirectories = ["logs"]\n[archive]\npath = "logs/archive"\n[daemon]\nlog_file = "logs/own.log"\n',
    )
    assert [problem.split(":")[1] for problem in problems] == ["4", "6"]


def test_lists_and_truth_values_can_stand_in_variables(tmp_path: Path) -> None:
    """Comma-separated or as in TOML; an empty text unsets what may be unset."""
    file = tmp_path / "config.toml"
    file.write_text("[retention]\nlog_file_days = 5\n")
    environ = {
        "WATCHKEEP__LOGS__DIRECTORIES": "/a, /b",
        "WATCHKEEP__LOGS__INCLUDE": '["*.x,y"]',
        "WATCHKEEP__LOGS__PROFILES": '{ "/a" = "flat" }',
        "WATCHKEEP__REDACTION__ENABLED": "off",
        "WATCHKEEP__RETENTION__LOG_FILE_DAYS": "",
    }
    settings = load(str(file), environ).settings
    assert settings.logs.directories == ("/a", "/b")
    assert settings.logs.include == ("*.x,y",)
    assert settings.logs.profiles == {"/a": "flat"}
    assert settings.redaction.enabled is False
    assert settings.retention.log_file_days is None


class _Mail(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    password: SecretStr = SecretStr("")


class _Model(BaseModel):
    mail: _Mail = _Mail()


def _secret(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Any:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return load(str(file), environ or {}, model=_Model)


def test_a_secret_comes_from_a_variable_or_a_file_of_its_own(tmp_path: Path) -> None:
    """The file with the settings can be shown to anybody."""
    (tmp_path / "password").write_text("hunter2\n")
    by_file = _secret(tmp_path, '[mail]\npassword_file = "password"\n')
    by_reference = _secret(tmp_path, '[mail]\npassword = "${SMTP}"\n', {"SMTP": "hunter2"})
    by_variable = _secret(tmp_path, "", {"WATCHKEEP__MAIL__PASSWORD": "hunter2"})
    by_variable_file = _secret(tmp_path, "", {"WATCHKEEP__MAIL__PASSWORD_FILE": str(tmp_path / "password")})
    for loaded in (by_file, by_reference, by_variable, by_variable_file):
        assert loaded.settings.mail.password.get_secret_value() == "hunter2"
        assert "hunter2" not in spelled(loaded.settings.mail.password)


def test_a_secret_in_the_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    """The message names the place, never the value."""
    with pytest.raises(ConfigError, match="may not stand in the file") as raised:
        _secret(tmp_path, '[mail]\npassword = "hunter2"\n')
    assert "hunter2" not in str(raised.value)


def test_positions_are_right_for_every_shape_of_toml() -> None:
    """Lists over several lines, inline tables, dotted keys and text that looks like a key."""
    text = '# c\n[a]\nx = """\ny = 1\n"""\nz = [\n  1,\n]\n[b.c]\nd.e = 1\nf = { g = 1 }\n[[h]]\ni = 1\n'
    assert positions(text) == {
        "a": 2, "a.x": 3, "a.z": 6, "b": 9, "b.c": 9, "b.c.d": 10, "b.c.d.e": 10, "b.c.f": 11, "b.c.f.g": 11,
        "h": 12, "h.i": 13,
    }  # fmt: skip


def test_a_reload_takes_live_keys_and_names_the_rest() -> None:
    """SIGHUP changes what can be changed and says what waits for a restart."""
    old = Settings()
    new = Settings.model_validate({"retention": {"event_days": 30}, "web": {"port": 9000}})
    reload = reloadable(old, new)
    assert reload.settings.retention.event_days == 30
    assert reload.settings.web.port == old.web.port
    assert reload.applied == ("retention.event_days",)
    assert reload.restart == ("web.port",)


def test_profiles_and_rules_are_checked_by_name(tmp_path: Path) -> None:
    """A typo would otherwise be read as "leave everything as it is"."""
    problems = _problems(
        tmp_path,
        '[logs]\nprofile = "nativ"\nprofiles = { "a" = "falt" }\n[redaction]\nrules = ["jwt", "cards"]\n',
    )
    assert len(problems) == 3
    assert all("is called" in problem for problem in problems)


def test_every_setting_reaches_the_part_it_is_about() -> None:
    """A key that nothing reads would be a promise nobody keeps."""
    declared = {ROOT / "daemon" / "settings.py", *(ROOT / "daemon" / "sections").glob("*.py")}
    sources = [path.read_text() for path in (ROOT / "daemon").rglob("*.py") if path not in declared]
    unread = [
        key.dotted for key in keys() if not any(re.search(rf"\.{key.name}\b", source) for source in sources)
    ]
    assert unread == []


def test_settings_cannot_be_changed_in_place() -> None:
    """What the daemon runs with is what check-config showed."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().web.port = 1  # type: ignore[misc]  # that it fails is what is tested


def test_the_profile_of_a_folder_is_found_by_the_name_that_the_file_gives_it(tmp_path: Path) -> None:
    """Also a relative one, which counts from the folder of the file like those of `directories`."""
    file = tmp_path / "config.toml"
    file.write_text(
        '[logs]\ndirectories = ["logs", "more/"]\nprofiles = { "logs" = "flat", "./more" = "fastnext" }\n'
    )
    settings = load(str(file), {}).settings
    found = {os.fsdecode(root.path): root.profile for root in roots(settings)}
    assert found == {f"{tmp_path}/logs": "flat", f"{tmp_path}/more": "fastnext"}


def test_lists_and_tables_are_called_so(tmp_path: Path) -> None:
    """Not by the names that Python has for them."""
    file = tmp_path / "config.toml"
    file.write_text(
        "[logs]\ndirectories = []\nprofiles = 1\n[archive]\nexports = [1]\n[rules]\nsources = 3\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(str(file), {})
    text = str(caught.value)
    for said in (
        "should have at least 1 item",
        "should be a table",
        "exports #1: should be a table",
        "should be a list",
    ):
        assert said in text
    assert "uple" not in text
    assert "dictionary" not in text


def test_an_archive_whose_path_duckdb_cannot_write_is_refused(tmp_path: Path) -> None:
    """Before the first line is read; brackets, stars, quotes and the like are no matter."""
    file = tmp_path / "config.toml"
    file.write_text("[archive]\npath = 'why?'\n")
    with pytest.raises(ConfigError, match="question mark"):
        load(str(file), {})
    file.write_text('[archive]\npath = "ar[c]h\'ve *"\n')
    assert load(str(file), {}).settings.archive.path == f"{tmp_path}/ar[c]h've *"
