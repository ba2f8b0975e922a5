"""What a client accepts, best first: `Accept` and `Accept-Encoding` with their weights."""

from __future__ import annotations

import re

_WEIGHT = re.compile(r"\bq\s*=\s*([0-9.]+)")


def accepted(header: str) -> list[str]:
    """Return the names in a header's value by falling weight, then in their order; none with a weight of 0."""
    weighed = []
    for item in header.lower().split(","):
        name, _, rest = item.partition(";")
        if name.strip() and (weight := _weight(rest)) > 0:
            weighed.append((-weight, name.strip()))
    return [name for _, name in sorted(weighed, key=lambda pair: pair[0])]


def _weight(parameters: str) -> float:
    found = _WEIGHT.search(parameters)
    try:
        weight = float(found[1]) if found else 1.0
    except ValueError:
        return 1.0
    return min(weight, 1.0)
