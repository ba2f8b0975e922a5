"""Keep third-party browser files byte-identical to the packages they were published in.

Each folder in FOLDERS has a ``vendor.toml`` that names every package (name, version, npm integrity, SPDX licence)
and every file of it with its SHA-256. The files stand beside it in ``<name>@<version>/``.

    python scripts/vendor.py --check    compare what is here with vendor.toml and the page's import map; no network
    python scripts/vendor.py            fetch the packages with ``npm pack``, check their integrity, copy the files

To take a new version, change ``version`` and ``integrity`` in ``vendor.toml``, run the second command (it says
which checksums to write down), then the first.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (ROOT / "web" / "static" / "vendor", ROOT / "tests" / "browser" / "vendor")
PAGE = ROOT / "web" / "static" / "index.html"
ASSETS = "{{assets}}"  # what the server replaces by the address of the assets
PREFIX = "package/"  # every npm archive holds its files below this name
FETCH_SECONDS = 120


@dataclass(frozen=True, slots=True)
class File:
    """One vendored file: its path inside the package, its SHA-256 in hex, and the name it is imported by."""

    path: str
    sha256: str
    specifier: str | None

    @property
    def name(self) -> str:
        """Its name here: flat, because a folder called `dist` is ignored by git and by wheel builders."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Package:
    """One package at one version, and where its files stand here."""

    name: str
    version: str
    integrity: str
    license: str
    files: tuple[File, ...]
    folder: Path

    def place(self, file: File) -> Path:
        """Return where a file of this package stands in the checkout."""
        return self.folder / f"{self.name}@{self.version}" / file.name


def packages() -> Iterator[Package]:
    """Read every ``vendor.toml``."""
    for folder in FOLDERS:
        with (folder / "vendor.toml").open("rb") as stream:
            for entry in tomllib.load(stream)["package"]:
                files = tuple(File(f["path"], f["sha256"], f.get("specifier")) for f in entry["file"])
                yield Package(
                    entry["name"], entry["version"], entry["integrity"], entry["license"], files, folder
                )


def check() -> list[str]:
    """Return one sentence for each thing that differs from ``vendor.toml``; needs no network."""
    problems = []
    known = {folder / name for folder in FOLDERS for name in ("vendor.toml", ".gitattributes")}
    for package in packages():
        if not any("LICENSE" in file.path for file in package.files):
            problems.append(f"{package.name}: vendor.toml lists no licence text")
        for file in package.files:
            place = package.place(file)
            known.add(place)
            if not place.is_file():
                problems.append(f"{place.relative_to(ROOT)} is missing; run scripts/vendor.py")
            elif hashlib.sha256(place.read_bytes()).hexdigest() != file.sha256:
                problems.append(f"{place.relative_to(ROOT)} differs from the published file")
    for folder in FOLDERS:
        found = {path for path in folder.rglob("*") if path.is_file()}
        problems += [f"{path.relative_to(ROOT)} is not in vendor.toml" for path in sorted(found - known)]
    return problems + check_import_map()


def check_import_map() -> list[str]:
    """Return what in the page's import map does not match the vendored files: addresses and integrity."""
    text = PAGE.read_text(encoding="utf-8")
    start = text.index(">", text.index('<script type="importmap"')) + 1
    found = json.loads(text[start : text.index("</script>", start)])
    imports, integrity = {}, {}
    for package in packages():
        for file in package.files:
            if file.specifier is None or not package.place(file).is_file():
                continue
            address = f"{ASSETS}/vendor/{package.name}@{package.version}/{file.name}"
            digest = hashlib.sha384(package.place(file).read_bytes()).digest()
            imports[file.specifier] = address
            integrity[address] = f"sha384-{base64.b64encode(digest).decode()}"
    problems = []
    if found.get("imports") != imports:
        problems.append(f"the import map should be {json.dumps(imports, indent=2)}")
    if found.get("integrity") != integrity:
        problems.append(f"its integrity should be {json.dumps(integrity, indent=2)}")
    return problems


def fetch(package: Package, scratch: Path) -> list[str]:
    """Fetch one package by its exact version, check it, copy its files; return what did not match."""
    told = subprocess.run(
        ["npm", "pack", "--json", "--pack-destination", str(scratch), f"{package.name}@{package.version}"],
        check=True,
        stdout=subprocess.PIPE,
        timeout=FETCH_SECONDS,
    )
    archive = scratch / json.loads(told.stdout)[0]["filename"]
    digest = hashlib.sha512(archive.read_bytes()).digest()
    integrity = f"sha512-{base64.b64encode(digest).decode()}"
    if integrity != package.integrity:
        return [f"{package.name}@{package.version} has integrity {integrity}; nothing of it was copied"]
    problems = []
    with tarfile.open(archive) as tar:
        for file in package.files:
            stream = tar.extractfile(PREFIX + file.path)
            if stream is None:
                problems.append(f"{package.name}: {file.path} is no file of the package")
                continue
            content = stream.read()
            place = package.place(file)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            sha256 = hashlib.sha256(content).hexdigest()
            if sha256 != file.sha256:
                problems.append(f'{package.name}: {file.path} has sha256 = "{sha256}"')
    return problems


def main() -> int:
    """Run the command; exit code 1 when something does not match."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare only, without the network")
    if parser.parse_args().check:
        problems = check()
    else:
        with tempfile.TemporaryDirectory() as scratch:
            problems = [problem for package in packages() for problem in fetch(package, Path(scratch))]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
