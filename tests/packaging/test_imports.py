"""Importing is cheap and works from anywhere: every module alone, and `--help` without the heavy libraries."""

import json
import subprocess
import sys

import pytest

from tests.support import ROOT

PACKAGES = ("parsers", "storage", "web", "daemon")  # lowest layer first
MODULES = {
    package: sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__main__.py"
    )
    for package in PACKAGES
}

# Each takes 50-400 ms to import. A person who asks for help, or completes a command, waits for none of them.
HEAVY = ("duckdb", "pyarrow", "aiohttp", "pydantic", "numpy", "watchfiles", "asyncio", "orjson")

# Runs in a fresh interpreter: forks once per module, so that each is the first of its layer. What lies below, third
# parties and lower layers, is paid for once: it cannot depend on what comes after (the layer contracts).
_EACH_FIRST = """
import importlib, json, os, sys, warnings
import aiofiles, aiohttp.web, duckdb, orjson, prometheus_client, pyarrow.compute, pyarrow.parquet, pydantic, watchfiles
failures = {}
for package, names in json.loads(sys.argv[1]).items():
    for name in names:
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
    if failures:
        break
    for name in names:
        importlib.import_module(name)
print(json.dumps(failures))
"""


@pytest.mark.soak  # hundreds of processes; that nothing imports itself in a circle is among the layers' contracts
def test_every_module_can_be_the_first_to_be_imported():
    """No module relies on a neighbour having been imported before it, so there is no hidden circle."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _EACH_FIRST, json.dumps(MODULES)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )

    assert json.loads(run.stdout) == {}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["serve", "--help"], ["sql", "--help"]])
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
