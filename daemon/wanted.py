"""From texts by the API's parameter names to the filter they mean: for commands, holds and exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.query import Filter, Scope

Values = Mapping[str, Sequence[str]]  # texts by the API's parameter names

OTHERS = ("min_risk", "max_risk", "start_date", "end_date", "search_query", "subject", "q", "internal")
INTERNAL = {"false": "exclude", "true": "include", "only": "only"}


def wanted(values: Values, *, now_us: int) -> tuple[Filter, Scope]:
    """Return what the API would make of these parameters. Raises FilterError, which names the one that is wrong."""
    from storage.filters import FIELDS, FilterError
    from storage.query import Filter, Scope
    from web.times import parse_time

    def one(name: str) -> str | None:
        return values[name][0] if values.get(name) else None

    def moment(name: str, *, end: bool) -> int | None:
        text = one(name)
        try:
            return None if text is None else parse_time(text, now_us=now_us, end=end)
        except ValueError as error:
            raise FilterError(name, str(error)) from None

    def score(name: str) -> float | None:
        text = one(name)
        try:
            return None if text is None else float(text)
        except ValueError:
            raise FilterError(name, f"{text!r} is no number", "0 to 100") from None

    unknown = next((name for name in values if name not in FIELDS and name not in OTHERS), None)
    if unknown is not None:
        raise FilterError(
            unknown, f"there is no filter {unknown!r}", f"known: {', '.join((*FIELDS, *OTHERS))}"
        )
    internal = one("internal") or "false"
    if internal not in INTERNAL:
        raise FilterError("internal", f"{internal!r} is none of {', '.join(INTERNAL)}")
    found = Filter.of(
        {name: texts for name, texts in values.items() if name in FIELDS},
        min_risk=score("min_risk"),
        max_risk=score("max_risk"),
        start_us=moment("start_date", end=False),
        end_us=moment("end_date", end=True),
        search=one("search_query"),
        subject=one("subject"),
        q=one("q"),
        now_us=now_us,
    )
    return found, Scope(internal=INTERNAL[internal])  # type: ignore[arg-type]  # one of the three words
