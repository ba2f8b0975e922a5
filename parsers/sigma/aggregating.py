"""Counting as rules wrote it before correlations: `selection | count(field) by group > 5` with a `timeframe`.

pySigma no longer reads it, but public directories still hold such rules. Each becomes what the specification names as its
successor: the same detection without the count, and a correlation of it that has the rule's id, title and all else.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any, Final

import yaml

_COUNT: Final = re.compile(
    r"(?P<what>.+?)\s*\|\s*count\(\s*(?P<field>[^)\s]*)\s*\)\s*(?:by\s+(?P<by>[^<>=]+?)\s*)?(?P<sign><=|>=|==|=|<|>)\s*(?P<limit>\d+)\s*",
    re.DOTALL,
)
_UTF16LE: Final = re.compile(r"\|utf16le(?=[|:'\"])")  # the other name of `wide`, which pySigma does not know
_SIGNS: Final = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte", "=": "eq", "==": "eq"}
_NAMESPACE: Final = uuid.UUID("0f1f86d4-57d5-4d5c-9a4a-3c1d0c7f5a11")  # of ids for what is counted


def modern(text: str) -> str:
    """Return rules in YAML with such counts as correlations, and with the names of today; what is no YAML, as it is."""
    text = _UTF16LE.sub("|wide", text)
    if not re.search(r"\|\s*count\(", text):
        return text
    try:
        documents = [each for document in yaml.safe_load_all(text) for each in _documents(document)]
    except yaml.YAMLError:  # whoever reads it says what is wrong
        return text
    return yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True)


def separate(text: str) -> list[tuple[str, str]]:
    """Return the title and the text of each document; none where they cannot be read, or one of them is about the others."""
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError:
        return []
    if any(not isinstance(document, dict) or "action" in document for document in documents):
        return []
    return [
        (str(document.get("title", "")), yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
        for document in documents
    ]


def _documents(document: Any) -> Iterator[Any]:
    """Yield a document, or the two that say the same."""
    detection = document.get("detection") if isinstance(document, dict) else None
    condition = detection.get("condition") if isinstance(detection, dict) else None
    found = _COUNT.fullmatch(condition) if isinstance(condition, str) else None
    if found is None or not detection or not detection.get("timeframe"):
        yield document
        return
    known = str(document.get("id") or document.get("title"))
    name = f"counted-{uuid.uuid5(_NAMESPACE, known)}"
    counted = {key: value for key, value in detection.items() if key != "timeframe"}
    yield {
        "title": f"{document.get('title')} (what is counted)",
        "id": str(uuid.uuid5(_NAMESPACE, known)),
        "name": name,
        "logsource": document.get("logsource"),
        "detection": {**counted, "condition": found["what"]},
    }
    limit = {_SIGNS[found["sign"]]: int(found["limit"])}
    by = [field for field in re.split(r"[,\s]+", found["by"] or "") if field]
    rest = {key: value for key, value in document.items() if key not in {"logsource", "detection"}}
    yield {
        **rest,
        "correlation": {
            "type": "value_count" if found["field"] else "event_count",
            "rules": [name],
            **({"group-by": by} if by else {}),
            "timespan": str(detection["timeframe"]),
            "condition": limit | ({"field": found["field"]} if found["field"] else {}),
        },
    }
