"""Layer rules that import-linter cannot express: parts of packages, single modules, attributes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

PACKAGES = ("daemon", "web", "storage", "parsers")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# The only modules above `web` that may speak HTTP: the composition root, the control socket and its client,
# and the one that sends alerts to receivers.
DAEMON_HTTP = {"daemon/service.py", "daemon/control.py", "daemon/outbound/sender.py"}

# Standard modules whose purpose is to wait, to run something or to write something.
WAITING = {"asyncio", "selectors", "shutil", "subprocess", "tempfile", "threading"}
# `socket` also converts addresses, which waits for nothing: there it is these that must stay away.
CONNECTING = {"socket.socket", "socket.create_connection", "socket.getaddrinfo", "socket.gethostbyname"}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _imports(path: Path) -> Iterator[str]:
    """Every module a file imports, wherever in the file, `from a import b` as both `a` and `a.b`."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _outside(package: str, module: str) -> list[str]:
    """Files outside a package that import a module or a part of it."""
    return [
        _name(path)
        for path in SOURCES
        if not _name(path).startswith(f"{package}/")
        and any(name == module or name.startswith(f"{module}.") for name in _imports(path))
    ]


@pytest.mark.parametrize("module", ["pyarrow.parquet", "pyarrow.dataset", "pyarrow.fs", "duckdb"])
def test_only_storage_reads_and_writes_files_of_the_archive(module):
    """A second place that opens Parquet would be a second opinion on what is committed."""
    assert _outside("storage", module) == []


def test_only_web_and_three_modules_of_daemon_speak_http():
    """The daemon starts the site, serves its control socket and sends alerts; nothing else knows of HTTP."""
    assert set(_outside("web", "aiohttp")) <= DAEMON_HTTP


def test_only_daemon_reads_the_environment():
    """Everything below receives its options as values."""
    readers = {
        _name(path)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"}
    }

    assert {name for name in readers if not name.startswith("daemon/")} == set()


def test_parsers_open_no_files():
    """Parsing is a function from bytes to rows: nothing in it opens, connects or waits."""
    pure = [path for path in SOURCES if _name(path).startswith("parsers/")]
    openers = {
        _name(path)
        for path in pure
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open"
    }
    waiters = {
        _name(path)
        for path in pure
        for name in _imports(path)
        if name.split(".")[0] in WAITING or name in CONNECTING
    }

    assert openers | waiters == set()


def test_there_are_no_packages_below_tests():
    """A `tests/storage/__init__.py` would shadow the package `storage`."""
    assert [str(path) for path in (ROOT / "tests").rglob("__init__.py")] == []
