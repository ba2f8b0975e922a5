"""The documents agree with the code: generated tables, links, and a mention of everything a user can name."""

import importlib
import importlib.util
import re
import subprocess
import sys

import pytest

from tests.support import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "client").rglob("*.md")])
NAME = re.compile(r"`((?:daemon|web|storage|parsers)\.[a-z_]+)(?:\.([A-Za-z_]+))?`")
FILE = re.compile(r"`((?:daemon|web|storage|parsers|tests|client|scripts|deploy)/[\w./-]+\.\w+)`")
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")

# Names of the places where packages come from, and paths of a developer's machine; written so that this file is clean.
FOREIGN = (
    "pypi" + ".org",
    "python" + "hosted",
    "npm" + "js.",
    "deb." + "debian",
    "crates" + ".io",
    "proxy." + "golang",
    "/" + "root/",
    "/" + "work/main",
    "/" + "home/",
)
UNFINISHED = ("TO" + "DO", "FIX" + "ME")


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_generated_tables_are_current():
    """`make docs` would change nothing."""
    run = subprocess.run(
        [sys.executable, "scripts/document.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (run.stderr, run.returncode) == ("", 0)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document):
    """Every relative link names a file that is there."""
    links = [link.partition("#")[0] for link in LINK.findall(document.read_text(encoding="utf-8"))]
    local = [link for link in links if link and "://" not in link]

    assert [link for link in local if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_names_of_the_code_exist(document):
    """A module, class or file that a document names is there: documents do not outlive the code."""
    text = document.read_text(encoding="utf-8")
    missing = [
        f"{module}.{name}" if name else module
        for module, name in NAME.findall(text)
        if (name or not importlib.util.find_spec(module)) and not hasattr(_loaded(module), name)
    ]
    missing += [path for path in FILE.findall(text) if not (ROOT / path).exists()]

    assert missing == []


def _loaded(module):
    return importlib.import_module(module) if importlib.util.find_spec(module) else None


def test_every_setting_is_documented():
    """Each key has its heading."""
    settings = importlib.import_module("daemon.settings")
    text = _text("docs/configuration.md")

    assert [key.dotted for key in list(settings.keys()) if f"### `{key.name}`" not in text] == []


def test_every_endpoint_is_documented():
    """Each method and path is in the page about the API."""
    routes = importlib.import_module("web.routes")
    text = _text("docs/api.md")

    missing = [f"{r.method} {r.path}" for r in routes.ROUTES if r.path not in text]
    assert missing == []


def test_every_command_and_option_is_documented():
    """Each command has a heading and each of its options stands below it."""
    cli = importlib.import_module("daemon.cli")
    sections = re.split(r"^## ", _text("docs/cli.md"), flags=re.MULTILINE)
    described = {section.split(maxsplit=1)[0].strip("`"): section for section in sections if section.strip()}

    missing = [
        f"{name} {option}"
        for name in cli.COMMANDS
        for given in cli.command_of(name).options
        for option in given.names
        if option not in described.get(name, described.get("watchkeep " + name, ""))
    ]
    assert missing == []
    assert [name for name in cli.COMMANDS if f"watchkeep {name}" not in _text("docs/cli.md")] == []


@pytest.mark.parametrize("name", _tracked())
def test_the_repository_speaks_of_the_product_alone(name):
    """No address of a package registry, no path of somebody's machine, nothing left unfinished."""
    data = (ROOT / name).read_bytes()
    if b"\0" in data:
        return
    text = data.decode("utf-8", "replace")
    words = FOREIGN if "/vendor/" in name else (*FOREIGN, *UNFINISHED)

    assert [word for word in words if word in text] == []
