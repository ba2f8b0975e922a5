"""The command line as a whole: help, mistakes, exit codes, and that printing cannot be abused."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from daemon import cli
from daemon.command import Exit
from daemon.terminal import Output, clipped, safe, safe_json, table, width_of
from tests.support import ROOT

# Modules that take longer to import than `--help` may take in all.
HEAVY = ("duckdb", "pyarrow", "pydantic", "aiohttp", "numpy", "orjson", "asyncio")


def _run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "watchkeep.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=50, check=False)


def test_help_names_every_command_and_imports_nothing_slow() -> None:
    """A person who types --help waits for the interpreter only."""
    loaded = "import sys; from daemon import cli; cli.main(['--help'])"
    script = f"try:\n exec({loaded!r})\nexcept SystemExit: print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    for name in cli.COMMANDS:
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The table of names and the commands agree, and each has help."""
    command = cli.command_of(name)
    assert command.name == name
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    assert ended.value.code == 0
    assert f"watchkeep {name}" in capsys.readouterr().out


def test_a_mistyped_command_or_option_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, what was not understood, and what may have been meant."""
    assert cli.main(["chek-config"]) == Exit.USAGE
    assert "did you mean check-config?" in capsys.readouterr().err
    assert cli.main(["check-config", "--jsn"]) == Exit.USAGE
    assert "--jsn" in capsys.readouterr().err


def test_a_value_may_begin_with_a_dash(tmp_path: Path) -> None:
    """As times and searches do; a known option behind one that lacks its value is still a mistake."""
    archive = ("--archive", str(tmp_path / "archive"))
    for given in (
        ("--since", "-24h", "--q", "-level:info", "--until", "-5m", "--search", "-x"),
        ("--since=-24h", "--limit", "5"),
    ):
        done = _run("query", *archive, *given, cwd=tmp_path)
        assert "expected one argument" not in done.stderr
        assert done.returncode != Exit.USAGE, done.stderr
    for wrong in (("--since", "--json"), ("--q",), ("--limit", "-5")):
        assert _run("query", *archive, *wrong, cwd=tmp_path).returncode == Exit.USAGE, wrong


def test_common_options_work_on_both_sides_of_the_command(tmp_path: Path) -> None:
    """`watchkeep --config F check-config` and `watchkeep check-config --config F` are the same."""
    file = tmp_path / "own.toml"
    file.write_text("[web]\nport = 9999\n")
    before = _run("--json", "--config", str(file), "check-config", cwd=tmp_path)
    behind = _run("check-config", "--config", str(file), "--json", cwd=tmp_path)
    assert before.stdout == behind.stdout
    shown = json.loads(before.stdout)["settings"]["web.port"]
    assert shown == {"value": 9999, "origin": f"{file}:2", "live": False}


def test_check_config_prints_each_problem_and_fails(tmp_path: Path) -> None:
    """File, line, key and hint; exit code 3; nothing else is printed."""
    file = tmp_path / "own.toml"
    file.write_text('[web]\nhost = "everywhere"\nprot = 1\n')
    done = _run("check-config", "--config", str(file))
    assert done.returncode == Exit.CONFIG
    lines = sorted(done.stdout.splitlines())
    assert len(lines) == 2
    assert lines[0].startswith(f"{file}:2: web.host:")
    assert lines[1] == f"{file}:3: web.prot: there is no such key (did you mean port?)"


def test_settings_that_cannot_be_used_stop_every_command(tmp_path: Path) -> None:
    """`serve` with a host that is none ends with code 3 and the reason."""
    file = tmp_path / "own.toml"
    file.write_text('[web]\nhost = "everywhere"\n')
    done = _run("serve", "--config", str(file))
    assert done.returncode == Exit.CONFIG
    assert "is no address" in done.stderr


HOSTILE = "a\x1b]0;owned\x07\x9b31mb\r\n\u202egnp.exe\u2066\x7f\u2028\ud800"


def test_control_characters_are_shown_not_obeyed() -> None:
    """Escape sequences, C1 codes, changes of direction, separators and lone surrogates all become visible text."""
    shown = safe(HOSTILE)
    assert shown.isprintable()
    assert "\\u001b]0;owned\\u0007\\u009b31mb\\r\\n\\u202egnp.exe\\u2066\\u007f\\u2028\\ud800" in shown


def test_escaped_json_is_the_same_json() -> None:
    """What is printed on a terminal can be copied into a program."""
    text = json.dumps({"a": "x\x9b31m\u202ey\x7f", "b": "é漢😀\U000e0041"}, ensure_ascii=False)
    shown = safe_json(text)
    assert shown.isprintable()
    assert json.loads(shown) == json.loads(text)


def test_tables_fit_the_terminal() -> None:
    """The widest column gives way; wide characters count as two cells."""
    lines = table(("a", "long"), [("1", "x" * 200), ("漢字", "é" * 3)], width=40)
    assert max(width_of(line) for line in lines) <= 40
    assert lines[1].endswith("…")
    assert clipped("漢字漢字", 5) == "漢字…"


def test_json_on_a_pipe_is_not_changed() -> None:
    """A program gets the bytes as they are."""
    stream = io.StringIO()
    Output(as_json=False, out=stream).json_text('{"a":"\u202e"}')
    assert stream.getvalue() == '{"a":"\u202e"}\n'
