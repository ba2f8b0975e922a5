"""The dashboard's files as files: vendored bytes, what the policy forbids, size, and the pure modules under Node."""

import gzip
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest

from tests.support import ROOT, require

STATIC = ROOT / "web" / "static"
PAGE = STATIC / "index.html"
MODULES = sorted(path for path in STATIC.rglob("*.js") if "vendor" not in path.parts)
STYLES = sorted((STATIC / "styles").glob("*.css"))
MODULE_TESTS = ROOT / "tests" / "browser" / "modules"
BUDGET_BYTES = 65_000  # compressed: all scripts of the first page, first-party and vendored
PAGE_BUDGET_BYTES = 15_000  # compressed: what another page adds
MOST_LINES = 400  # of one file
NODE_SECONDS = 30

# What would need a weaker policy, or turn an event's text into markup.
FORBIDDEN = (
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser",
    r"dangerouslySetInnerHTML|\beval\(|new Function|setAttribute\(\s*[\"'](?:style|on)",
    r"<style|\bstyle=\"|localStorage|sessionStorage|https?://(?!www\.w3\.org|attack\.mitre\.org/techniques/)",
)


def _vendor() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scripts_vendor", ROOT / "scripts" / "vendor.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_vendored_files_are_those_that_were_published() -> None:
    """Every file has the checksum written down for it, none is missing, none is extra, and the page agrees."""
    assert _vendor().check() == []


def test_a_changed_vendored_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One changed byte, one extra file and one missing file are each a problem."""
    vendor = _vendor()
    shutil.copytree(STATIC, tmp_path / "static")
    folder = tmp_path / "static" / "vendor"
    monkeypatch.setattr(vendor, "ROOT", tmp_path)
    monkeypatch.setattr(vendor, "FOLDERS", (folder,))
    monkeypatch.setattr(vendor, "PAGE", tmp_path / "static" / "index.html")
    assert vendor.check() == []
    changed = folder / "preact@11.2.0" / "preact.mjs"
    changed.write_bytes(changed.read_bytes() + b"\n")
    (folder / "extra.js").write_bytes(b"")
    (folder / "htm@3.1.1" / "LICENSE").unlink()
    problems = "\n".join(vendor.check())
    assert "preact.mjs differs" in problems
    assert "extra.js is not in vendor.toml" in problems
    assert "LICENSE is missing" in problems
    assert "its integrity should be" in problems


def test_every_vendored_package_carries_its_licence() -> None:
    """Name, version, npm integrity, SPDX licence and the licence's text stand beside the code."""
    packages = list(_vendor().packages())
    assert len(packages) == 5
    for package in packages:
        assert package.license in {"MIT", "Apache-2.0", "MPL-2.0"}
        assert package.integrity.startswith("sha512-")
        if package.license == "MPL-2.0":
            assert "tests" in package.folder.parts, "file-level copyleft is for tests only"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(STATIC)))
def test_no_module_makes_markup_from_text(path: Path) -> None:
    """No way to parse HTML or run text, no hidden state, no other host but in a link to a technique."""
    text = path.read_text(encoding="utf-8")
    for pattern in FORBIDDEN:
        assert re.search(pattern, text) is None, pattern
    assert text.startswith("// @ts-check\n")
    assert text.count("\n") <= MOST_LINES


def needed(*entries: Path) -> set[Path]:
    """Return the modules that some modules cannot do without, themselves included."""
    found: set[Path] = set()
    open_ = list(entries)
    while open_:
        path = open_.pop()
        if path not in found:
            found.add(path)
            open_ += [(path.parent / name).resolve() for name in imports(path) if name.startswith(".")]
    return found


def imports(path: Path) -> list[str]:
    """Return what a module imports by name, at its beginning."""
    return re.findall(r'^(?:import|export)[^;]*? from "([^"]+)";', path.read_text(encoding="utf-8"), re.M)


def later(path: Path) -> list[str]:
    """Return what a module imports when it is wanted."""
    return re.findall(r'=> import\("([^"]+)"\)', path.read_text(encoding="utf-8"))


def test_the_page_loads_every_module_and_style_once() -> None:
    """What the first page needs is announced up front, so that a slow line does not wait for one import after another."""
    page = PAGE.read_text(encoding="utf-8")
    announced = re.findall(r'rel="modulepreload" href="\{\{assets\}\}/([^"]+)"', page)
    first = needed(STATIC / "app.js")
    assert announced == sorted(path.relative_to(STATIC).as_posix() for path in first)
    wanted = [(path.parent / name).resolve() for path in MODULES for name in later(path)]
    assert needed(*first, *wanted) == set(MODULES), "a module that nothing loads"
    styles = re.findall(r'rel="stylesheet" href="\{\{assets\}\}/([^"]+)"', page)
    assert sorted(styles) == [path.relative_to(STATIC).as_posix() for path in STYLES]
    assert re.findall(r"<script(?![^>]*(?:src=|importmap))", page) == []
    assert re.findall(r"\s(?:style|on\w+)=", page) == []


def test_every_import_resolves() -> None:
    """Relative imports name files that exist; bare ones stand in the import map."""
    page = PAGE.read_text(encoding="utf-8")
    for path in MODULES:
        for name in (*imports(path), *later(path)):
            if name.startswith("."):
                assert (path.parent / name).is_file(), f"{path.name}: {name}"
            else:
                assert f'"{name}": "{{{{assets}}}}/vendor/' in page, f"{path.name}: {name}"


def test_every_imported_name_is_exported() -> None:
    """A browser would refuse the whole module, and a page that is loaded later would fail only then."""
    imported = re.compile(r'^(?:import|export) \{([^}]*)\} from "(\.[^"]+)";', re.M)
    for path in MODULES:
        for names, source in imported.findall(path.read_text(encoding="utf-8")):
            text = (path.parent / source).read_text(encoding="utf-8")
            for name in (part.partition(" as ")[0].strip() for part in names.split(",")):
                exported = rf"^export (?:async )?(?:function|const|class|let) {re.escape(name)}\b"
                assert not name or re.search(exported, text, re.M), f"{path.name}: {name} of {source}"


def test_a_first_visit_is_small() -> None:
    """Our scripts and the vendored ones stay within the budget, compressed; so does each page that comes later."""
    first = {*needed(STATIC / "app.js"), *STATIC.glob("vendor/**/*.mjs")}
    assert packed(first) <= BUDGET_BYTES
    for name in later(STATIC / "data" / "pages.js"):
        page = (STATIC / "data" / name).resolve()
        assert packed(needed(page) - first) <= PAGE_BUDGET_BYTES, name


def packed(paths: Iterable[Path]) -> int:
    """Return how many bytes some files have, each compressed."""
    return sum(len(gzip.compress(path.read_bytes(), 9)) for path in paths)


@pytest.mark.parametrize("path", STYLES, ids=lambda path: path.name)
def test_styles_are_short_and_load_nothing(path: Path) -> None:
    """No font, image or import from anywhere."""
    text = path.read_text(encoding="utf-8")
    assert re.search(r"url\(|@import|@font-face", text) is None
    assert text.count("\n") <= MOST_LINES


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/St_Johns"])
def test_pure_modules_under_node(zone: str) -> None:
    """View state, formats, scales and JSON text, in Node's own test runner, in several time zones."""
    node = shutil.which("node")
    require(node, "Node", install="nodejs")
    assert node is not None
    tests = sorted(str(path) for path in MODULE_TESTS.glob("*.test.mjs"))
    ran = subprocess.run(
        [node, "--test", *tests],
        env={**os.environ, "TZ": zone, "NODE_NO_WARNINGS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=NODE_SECONDS,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
