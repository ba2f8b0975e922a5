"""Importing is cheap and works from anywhere: every module alone, and `--help` without the heavy libraries."""

import json
import subprocess
import sys

import pytest

from tests.support import ROOT

PACKAGES = ("daemon", "web", "storage", "parsers")
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if path.name != "__main__.py"
)

# Each takes 50-400 ms to import. A person who asks for help, or completes a command, waits for none of them.
HEAVY = ("duckdb", "pyarrow", "aiohttp", "pydantic", "numpy", "watchfiles", "asyncio", "orjson")

# Runs in a fresh interpreter: forks once per module, so that each starts from nothing but is paid for once.
_EACH_ALONE = """
import importlib, json, os, sys, warnings
import aiofiles, aiohttp.web, asyncio, duckdb, numpy, orjson, prometheus_client, pyarrow.compute, pyarrow.parquet, pydantic, watchfiles  # shared by all children
failures = {}
for name in sys.argv[1:]:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            warnings.simplefilter("error")
            importlib.import_module(name)
            os._exit(0)
        except BaseException as error:
            os.write(write, f"{type(error).__name__}: {error}"[:500].encode())
            os._exit(1)
    os.close(write)
    _, status = os.waitpid(child, 0)
    if status:
        failures[name] = os.read(read, 500).decode()
    os.close(read)
print(json.dumps(failures))
"""


def test_every_module_can_be_the_first_to_be_imported():
    """No module relies on another having been imported before it, so there is no hidden circle."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _EACH_ALONE, *MODULES],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )

    assert json.loads(run.stdout) == {}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["query", "--help"], ["serve", "--help"]])
def test_asking_for_help_loads_no_heavy_library(arguments):
    """Help appears at once because commands import what they need when they run."""
    code = f"""
import sys
sys.argv = ["watchkeep", *{arguments!r}]
import watchkeep
try:
    watchkeep.main()
except SystemExit as end:
    assert not end.code, end.code
print("loaded:", *[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)

    assert run.stderr.strip().splitlines()[-1] == "loaded:"
    assert run.stdout.strip()
