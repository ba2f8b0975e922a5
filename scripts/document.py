"""Write the tables of the documents that follow from the code, between their markers.

    python scripts/document.py            write them
    python scripts/document.py --check    say which are out of date, and fail

A table stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``; TABLES says what NAME is.
"""

import argparse
import ast
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from daemon.metrics import METRICS, PREFIX, MetricKind  # noqa: E402 - the path comes first
from parsers import fields as fields_of_search  # noqa: E402
from parsers.batch import Counts  # noqa: E402 - the path comes first
from parsers.cases import EVENTS, REJECTS, Case  # noqa: E402
from parsers.columns import REJECT_SCHEMA  # noqa: E402
from parsers.event import describe  # noqa: E402
from parsers.fields import folded  # noqa: E402
from parsers.flags import FLAGS  # noqa: E402
from parsers.names import FAMILIES  # noqa: E402
from parsers.points import BASES, BEHAVIOURS  # noqa: E402
from parsers.profiles import PROFILES  # noqa: E402
from parsers.redact import DEFAULT_KEYS  # noqa: E402
from parsers.scenarios import SCENARIOS  # noqa: E402
from parsers.schema import line_schema  # noqa: E402
from parsers.vocabulary import LEVEL_WORDS, LEVELS, OUTCOME_WORDS, OUTCOMES  # noqa: E402
from storage import records, rollups, sketch  # noqa: E402
from storage.gaps import REASONS  # noqa: E402
from storage.records import Header, Range  # noqa: E402
from storage.roles import NONE, ROLES, SCOPES  # noqa: E402
from storage.snapshot import File  # noqa: E402
from storage.treatments import MEANING, TREATMENTS  # noqa: E402
from web.params import Filters  # noqa: E402
from web.routes import ROUTES  # noqa: E402

BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    escaped = (" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows)
    return "\n".join(
        [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {row} |" for row in escaped)]
    )


def columns() -> str:
    """Return every column of an event."""
    rows = [
        (f"`{row['name']}`", row["type"], f"`{row['api']}`" if row["api"] else "", row["meaning"])
        for row in describe()
    ]
    return table(("column", "type", "in the API", "meaning"), rows)


def rejects() -> str:
    """Return every column of a reject."""
    return table(("column", "type"), [(f"`{field.name}`", str(field.type)) for field in REJECT_SCHEMA])


def rollup() -> str:
    """Return every column of a roll-up, after the families that its module lists."""
    families = inspect.getdoc(rollups) or ""
    block = families[families.index("=====") : families.rindex("=====") + 5]
    rows = [(f"`{field.name}`", str(field.type)) for field in rollups.ROLLUP_SCHEMA]
    rows.append((f"`{sketch.COLUMN}`", "binary; in the roll-ups of sealed files only"))
    return f"```\n{block}\n```\n\n{table(('column', 'type'), rows)}"


def comments(source: str, name: str) -> dict[str, str]:
    """Return what the comment behind each element of a tuple in some source says."""
    lines = source.splitlines()
    (node,) = (
        item
        for item in ast.parse(source).body
        if isinstance(item, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == name for t in item.targets)
    )
    assert isinstance(node.value, ast.Tuple)
    return {
        element.value: lines[element.lineno - 1].partition("#")[2].strip()
        for element in node.value.elts
        if isinstance(element, ast.Constant) and isinstance(element.value, str)
    }


def kinds() -> str:
    """Return every kind of record."""
    said = comments(inspect.getsource(records), "KINDS")
    return table(("kind", "says"), [(f"`{kind}`", said[kind]) for kind in records.KINDS])


def members(kind: Any) -> str:
    """Return the fields of a dataclass with their types; `Counts` is spelled out."""
    assert is_dataclass(kind)
    rows = []
    for field in fields(kind):
        if field.type == "Counts":
            rows.append((f"`{field.name}`", ", ".join(f"`{part.name}`" for part in fields(Counts))))
        else:
            rows.append((f"`{field.name}`", str(field.type).replace(" | None", " or null")))
    return table(("field", "type"), rows)


# What the exposition format appends to a counter's name and calls the kinds.
KINDS_OF_METRIC: dict[MetricKind, tuple[str, str]] = {
    "count": ("_total", "counter"),
    "gauge": ("", "gauge"),
    "seconds": ("", "histogram"),
}


def metrics() -> str:
    """Return every metric under the name it has in `/metrics`."""
    rows = []
    for metric in METRICS:
        suffix, kind = KINDS_OF_METRIC[metric.kind]
        name = f"{PREFIX}{metric.name.removesuffix(suffix)}{suffix}"
        rows.append((f"`{name}`", kind, ", ".join(f"`{label}`" for label in metric.labels), metric.help))
    return table(("metric", "kind", "labels", "meaning"), rows)


def code(text: str) -> str:
    """Return text as inline code."""
    return f"`{text}`"


def profiles() -> str:
    """Return every profile of lines."""
    rows = [(code(p.name), p.meaning, code(p.example)) for p in PROFILES.values()]
    return table(("profile", "what it reads", "example"), rows)


def names() -> str:
    """Return every name a field may have, by column, in the order in which they count."""
    spelled: dict[str, list[str]] = {}
    for family in FAMILIES.values():
        for name, column in family.items():
            if name not in spelled.setdefault(column, []):
                spelled[column].append(name)
    rows = [(code(column), ", ".join(map(code, found))) for column, found in spelled.items()]
    return table(("column", "names, the first that a line has counts"), rows)


def words(known: dict[str, str], order: Sequence[str]) -> str:
    """Return the other words for each word of a vocabulary."""
    rows = [
        (code(word), ", ".join(code(w) for w, of in known.items() if of == word and w != word))
        for word in order
    ]
    return table(("stored as", "also spelled"), rows)


def odd() -> str:
    """Return every case of a line that is an event, but an odd one."""
    rows = [
        (case.what, example(case), case.outcome, ", ".join(map(code, case.columns.get("flags") or ())))
        for case in EVENTS
    ]
    return table(("the line has", "for example", "outcome", "flag"), rows)


def bad() -> str:
    """Return every case of a line that is no event."""
    return table(("the line is", "for example", "reason"), [(c.what, example(c), c.reason) for c in REJECTS])


def example(case: Case) -> str:
    """Return a line as inline code, bytes that cannot be shown as escapes."""
    text = case.line.decode("utf-8", "backslashreplace")
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return code(shown if len(shown) <= LONGEST_EXAMPLE else f"{shown[:LONGEST_EXAMPLE]}…")


LONGEST_EXAMPLE = 72  # characters, so that the table stays readable


def route_roles() -> str:
    """Return every route with the least role that may ask, and the scope."""
    rows = [
        (
            code(f"{route.method} {route.path}"),
            "everybody" if route.role == NONE else route.role,
            code(route.scope) if route.scope else "",
            "yes" if route.tenants or route.role == NONE else "no",
        )
        for route in ROUTES
    ]
    return table(("route", "role", "scope", "for a key of one tenant"), rows)


def masked() -> str:
    """Return every treatment of personal values with its columns."""
    rows = [
        (", ".join(code(column) for column, how in TREATMENTS.items() if how == treatment), meaning)
        for treatment, meaning in MEANING.items()
    ]
    return table(("columns", "a viewer sees"), rows)


def bases() -> str:
    """Return the base table, levels and scales with it."""
    rows = [
        (
            *(code(word) if word else "any" for word in (row.category, row.action, row.outcome)),
            f"{row.points:g}",
        )
        for row in BASES
    ]
    return table(("category", "action", "outcome", "points"), rows)


def scenarios() -> str:
    """Return the situations with their scores."""
    rows = [(item.title, str(item.score), ", ".join(map(code, item.reasons)) or "none") for item in SCENARIOS]
    return table(("situation", "score", "reasons"), rows)


def search_fields() -> str:
    """Return every field of a search: its names, the operators it takes, what it means."""
    rows = []
    for field in fields_of_search.FIELDS:
        names = [field.parameter or "", *field.aliases]
        known = (name for name in names if name and fields_of_search.NAMES[folded(name)] is field)
        others = dict.fromkeys(name for name in known if folded(name) != folded(field.name))
        once = {folded(name): name for name in reversed(others)}
        shown = ", ".join(code(name) for name in others if once[folded(name)] == name)
        rows.append((code(field.name), shown, field.kind.name, field.meaning))
    return table(("field", "also", "kind", "meaning"), rows)


def searchable() -> str:
    """Return the dashboard's module of the API's filters: names and labels."""
    rows = "\n".join(
        f'  Object.freeze({{ name: "{name}", label: "{field.label}" }}),'
        for name, field in fields_of_search.PARAMETERS.items()
        if name in Filters.model_fields
    )
    return (
        "// @ts-check\n/** The API's repeatable filters and what people call them. Written by scripts/document.py from "
        f"parsers/fields.py. */\nexport const PARAMETERS = Object.freeze([\n{rows}\n]);\n"
    )


def search_kinds() -> str:
    """Return every kind of field: what its values are, and which operators it takes."""
    rows = [
        (kind.name, kind.meaning, ", ".join(kind.operators), code(kind.example))
        for kind in fields_of_search.KINDS
    ]
    return table(("kind", "values", "operators", "for example"), rows)


def search_operators() -> str:
    """Return every operator: how a search writes it, what a form calls it, what it means."""
    rows = [
        (code(operator.name), operator.label, code(operator.sign), operator.meaning)
        for operator in fields_of_search.OPERATORS.values()
    ]
    return table(("operator", "in a form", "in a search", "true when"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "search_fields": search_fields,
    "search_kinds": search_kinds,
    "search_operators": search_operators,
    "profiles": profiles,
    "names": names,
    "levels": lambda: words(LEVEL_WORDS, LEVELS),
    "outcomes": lambda: words(OUTCOME_WORDS, OUTCOMES),
    "flags": lambda: table(("flag", "meaning"), [(code(flag), meaning) for flag, meaning in FLAGS.items()]),
    "odd": odd,
    "bad": bad,
    "redacted": lambda: ", ".join(map(code, DEFAULT_KEYS)),
    "columns": columns,
    "rejects": rejects,
    "rollups": rollup,
    "header": lambda: members(Header),
    "kinds": kinds,
    "file": lambda: members(File),
    "range": lambda: members(Range),
    "metrics": metrics,
    "roles": lambda: table(("role", "may"), [(code(role), may) for role, may in ROLES.items()]),
    "scopes": lambda: table(("scope", "for"), [(code(scope), what) for scope, what in SCOPES.items()]),
    "route_roles": route_roles,
    "masked": masked,
    "behaviours": lambda: table(
        ("reason", "points", "the event is"),
        [(code(item.reason), f"{item.points:g}", item.meaning) for item in BEHAVIOURS],
    ),
    "bases": bases,
    "scenarios": scenarios,
    "gap_codes": lambda: table(("code", "why"), [(code(name), why) for name, why in REASONS.items()]),
}


# Files that are generated whole.
FILES: dict[str, Callable[[], str]] = {
    "web/static/searchable.js": searchable,
    "docs/event.schema.json": lambda: json.dumps(line_schema(), indent=2, ensure_ascii=False) + "\n",
}


def filled(text: str) -> str:
    """Return a document with every generated block as the code has it now."""
    return BLOCK.sub(lambda match: f"{match[1]}{TABLES[match[2]]()}\n{match[3]}", text)


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check every document; return 1 if a check found one out of date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing, fail if something would change")
    check = parser.parse_args(argv).check
    stale = []
    for path in [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        fresh = filled(text)
        if fresh != text:
            stale.append(path.relative_to(ROOT).as_posix())
            if not check:
                path.write_text(fresh, encoding="utf-8")
    for name, whole in FILES.items():
        path, fresh = ROOT / name, whole()
        if not path.exists() or path.read_text(encoding="utf-8") != fresh:
            stale.append(name)
            if not check:
                path.write_text(fresh, encoding="utf-8")
    for name in stale:
        sys.stderr.write(f"{name}: {'out of date, run make docs' if check else 'written'}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
