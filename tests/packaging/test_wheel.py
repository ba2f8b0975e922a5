"""The wheel: only our two names, beside other people's `daemon` and `web`, and complete."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support import ROOT, require

PACKAGES = ("daemon", "web", "storage", "parsers")

# python-daemon and web.py own two of our plain names; `make setup` fetches their wheels into this folder.
NEIGHBOURS = ROOT / ".venv" / "neighbours"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the source distribution by the pinned backend, without network: as a packager does."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
        text=True,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A fresh environment with our wheel and both neighbours; third-party libraries come from this one."""
    folder = tmp_path_factory.mktemp("installed")
    environment = folder / "venv"
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / "bin" / "python"
    site = Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    )
    neighbours = sorted(map(str, NEIGHBOURS.glob("*.whl")))
    require(neighbours, "the folder of python-daemon and web.py", install="it with `make setup`")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", f"--python={python}"]
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", *neighbours, str(wheel)],
        check=True,
        capture_output=True,
        text=True,
    )
    # After its own packages: a .pth line is appended to the path, and the one of our editable install is not read.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def _run(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    bare = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    run = subprocess.run(
        [python, *arguments], cwd=python.parent, env=bare, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run


def test_the_wheel_brings_two_names_and_nothing_else(wheel):
    """Names as plain as `web` must not land in anybody's site-packages."""
    with zipfile.ZipFile(wheel) as archive:
        top = {name.split("/")[0] for name in archive.namelist()}

    assert {name for name in top if not name.endswith(".dist-info")} == {"watchkeep.py", "watchkeep_app"}


def test_the_wheel_is_complete(wheel):
    """Every module, the shipped configuration and the dashboard's files are in it."""
    tracked = subprocess.run(
        ["git", "ls-files", *PACKAGES, "config.toml"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())

    assert [
        name for name in tracked if (ROOT / name).exists() and f"watchkeep_app/{name}" not in packed
    ] == []


# Uses what each neighbour is for: a daemon context that opens and closes, and an application that answers.
_NEIGHBOURS_WORK = """
import sys, daemon, web
context = daemon.DaemonContext(
    detach_process=False, files_preserve=[*range(256)], stdout=sys.stdout, stderr=sys.stderr
)
with context:
    assert context.is_open

class hello:
    def GET(self):
        return "hello"

print(web.application(("/", "hello"), {"hello": hello}).request("/").data.decode())
"""


def test_our_command_and_both_neighbours_work_in_one_environment(installed):
    """Ours finds its own `daemon` and `web`; everybody else finds theirs."""
    help_text = _run(installed, str(installed.parent / "watchkeep"), "--help").stdout
    answer = _run(installed, "-c", _NEIGHBOURS_WORK).stdout

    assert "usage: watchkeep" in help_text
    assert answer.strip() == "hello"


def test_the_installed_program_brings_its_own_packages_and_defaults(installed):
    """Installed, `config.toml` is found beside the packages and says what the code says."""
    code = """
import sys, watchkeep
sys.path.insert(0, str(watchkeep._PRIVATE))
import daemon, web, storage, parsers
print(all("watchkeep_app" in module.__file__ for module in (daemon, web, storage, parsers)))
print((watchkeep._PRIVATE / "config.toml").read_text())
"""
    first, _, config = _run(installed, "-c", code).stdout.partition("\n")

    assert first == "True"
    assert "archive" in tomllib.loads(config) or "[archive]" in config


def test_no_other_distribution_of_this_environment_owns_our_names():
    """None of our dependencies brings a package called daemon, web, storage or parsers."""
    from importlib.metadata import packages_distributions

    owners = packages_distributions()

    assert {name: owners[name] for name in PACKAGES if set(owners.get(name, [])) - {"watchkeep"}} == {}
