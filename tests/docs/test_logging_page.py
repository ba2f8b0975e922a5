"""The snippets of docs/logging.md work: each is run as it stands, and its line becomes an event."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tests.support import ROOT

PAGE = (ROOT / "docs" / "logging.md").read_text()
SNIPPETS = dict(re.findall(r"^```python (\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
EXPECTED = {
    "client": [("info", "workflow", "order placed"), ("info", "data_management", "")],
    "stdlib": [("warning", "workflow", "stock is low")],
    "structlog": [("warning", "workflow", "invoice is late")],
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_snippet_writes_lines_that_are_archived(name: str, tmp_path: Path) -> None:
    """Run it in an empty folder, ingest what it wrote, and read the archive as anybody can."""
    if name == "structlog" and importlib.util.find_spec("structlog") is None:
        pytest.skip("structlog is not installed: it is no dependency of ours")
    (tmp_path / "logs").mkdir()
    snippet = tmp_path / "application.py"
    snippet.write_text(SNIPPETS[name])
    subprocess.run(
        [sys.executable, str(snippet)],
        cwd=tmp_path,
        check=True,
        env={"PYTHONPATH": str(ROOT / "client")},
        timeout=30,
    )
    files = [str(path) for path in (tmp_path / "logs").iterdir()]
    assert len(files) == 1
    subprocess.run(
        [
            sys.executable,
            str(ROOT / "watchkeep.py"),
            "ingest",
            "--archive",
            str(tmp_path / "archive"),
            *files,
        ],
        cwd=tmp_path,
        check=True,
        timeout=50,
        capture_output=True,
    )
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT level, category, description FROM read_parquet($glob, union_by_name = true) ORDER BY seq",
            {"glob": f"{tmp_path}/archive/events/*/*.parquet"},
        ).fetchall()
    assert [(level, category, text or "") for level, category, text in rows] == EXPECTED[name]


def test_the_page_shows_at_most_fourteen_lines_for_each_way() -> None:
    """Nobody reads more than that."""
    assert set(SNIPPETS) == set(EXPECTED)
    assert all(len(snippet.strip().splitlines()) <= 14 for snippet in SNIPPETS.values())
