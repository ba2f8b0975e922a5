"""What the settings say about keeping: classes and exports, and everything that can be wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon import options
from daemon.configerror import ConfigError
from daemon.origins import load
from daemon.sections.retention import BUILT_IN_CLASSES
from storage.retention import BUILT_IN

RIGHT = """
[retention]
event_days = 60
[[retention.classes]]
name = "audit"
categories = ["security", "authentication"]
minimum_days = 365
maximum_days = 730
[[retention.classes]]
name = "default"
minimum_days = 7
[[archive.exports]]
name = "security"
folder = "out"
filter = { category = "security", min_risk = 30, internal = true }
"""


def loaded(folder: Path, text: str):
    file = folder / "config.toml"
    file.write_text(text)
    return load(str(file), {})


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        loaded(folder, text)
    return [str(problem).replace(f"{folder}/", "") for problem in raised.value.problems]


def test_classes_and_exports_reach_the_parts_they_are_about(tmp_path: Path) -> None:
    """Ages, categories, a folder that counts from the file, a filter in the API's words."""
    settings = loaded(tmp_path, RIGHT).settings
    policy = options.policy(settings)
    assert policy.by_category == {"security": "audit", "authentication": "audit"}
    assert policy.minimums == {"default": 7, "internal": 365, "rejects": 365, "audit": 365}
    assert policy.limits("audit", {}).maximum == 730
    assert policy.exports == ("security",)
    assert options.parse_options(settings).classes.by_category == policy.by_category
    (planned,) = options.exports(settings)
    assert planned.export.folder == str(tmp_path / "out")
    assert planned.export.filter.to_json() == {"values": {"category": ["security"]}, "min_risk": 30.0}
    assert (planned.export.scope.internal, planned.export.form) == ("include", "ndjson")
    assert BUILT_IN_CLASSES == BUILT_IN


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('name = "Audit"\ncategories = ["a"]', "classes #1 name: 'Audit' should be lower-case letters"),
        (
            'name = "default"\ncategories = ["a"]',
            "'default' has its events by itself and takes no categories",
        ),
        ('name = "audit"', "'audit' names no categories: no event would belong to it"),
        ('categories = ["a"]', "classes #1 name: is needed and not set"),
        ('name = "a"\ncategories = ["a"]\nminimum = 3', "classes #1 minimum: there is no such key"),
        ('name = "a"\ncategories = ["a"]\nminimum_days = -1', "classes #1 minimum_days: should be greater"),
        (
            'name = "a"\ncategories = ["a"]\nminimum_days = 30\nmaximum_days = 29',
            "'a' must keep 30 days and may keep only 29: raise maximum_days or lower minimum_days",
        ),
        (
            'name = "a"\ncategories = ["x"]\n[[retention.classes]]\nname = "b"\ncategories = ["y", "x"]',
            "an event belongs to one class, and two of them name the category 'x'",
        ),
        (
            'name = "a"\ncategories = ["x"]\n[[retention.classes]]\nname = "a"\ncategories = ["y"]',
            "two classes are called 'a'",
        ),
    ],
)
def test_what_is_wrong_with_a_class_is_said(tmp_path: Path, table: str, said: str) -> None:
    """With file and line, which of the classes, and what to do."""
    (problem,) = problems(tmp_path, f"[[retention.classes]]\n{table}\n")
    assert said in problem
    assert problem.startswith("config.toml:1: retention.classes")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            'folder = "out"\nformat = "xml"',
            "exports #1 format: should be 'json', 'ndjson', 'csv', 'parquet' or 'arrow'",
        ),
        ('folder = "archive/out"', "lies inside the archive"),
        ('folder = "logs/out"', "lies inside the followed folder"),
        (
            'folder = "out"\nfilter = { colour = "red" }',
            "exports #1 filter colour: there is no filter 'colour'",
        ),
        ('folder = "out"\nfilter = { level = "loud" }', "exports #1 filter level: 'loud' is not a level"),
        ('folder = "out"\nfilter = { start_date = "-7d" }', "start_date is not for exports"),
        ('folder = "out"\nfilter = { q = "level:error OR time:>-7d" }', "a time is not for exports"),
        ('folder = "out"\nfilter = { q = "level:error time:>-7d" }', "a time is not for exports"),
        ('folder = "out"\nfilter = { q = "levl:error" }', "no field levl"),
        ('folder = "out"\nhour = 24', "exports #1 hour: should be less than or equal to 23"),
    ],
)
def test_what_is_wrong_with_an_export_is_said(tmp_path: Path, table: str, said: str) -> None:
    """Before the daemon starts, not in the night when it is due."""
    text = f'[logs]\ndirectories = ["logs"]\n[archive]\npath = "archive"\n[[archive.exports]]\nname = "a"\n{table}\n'
    found = problems(tmp_path, text)
    assert len(found) == 1
    assert said in found[0]
