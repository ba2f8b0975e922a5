"""Whether a rule's SQL is one that DuckDB runs, tried over no events at all."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

from parsers.columns import EVENT_SCHEMA
from parsers.expression import Expression
from parsers.sigma.rule import Rule
from storage.correlating import Plan
from storage.duck import connect

MEMORY_LIMIT_MB = 256


class DryRun:
    """Tries rules one after the other; close it when done. Blocking, some milliseconds a rule."""

    def __init__(self, rules: Mapping[str, Rule], routes: Mapping[str, Expression]) -> None:
        self._rules = rules
        self._routes = routes
        self._connection = connect(threads=1, memory_limit_mb=MEMORY_LIMIT_MB)
        self._connection.register("nothing", EVENT_SCHEMA.empty_table())

    def compiles(self, rule: Rule) -> str:
        """Return why a rule cannot be made into SQL; empty if it can."""
        try:
            Plan(self._rules, self._routes).anchors(rule, "nothing")
        except (ValueError, KeyError, AssertionError) as error:
            return f"it cannot be compiled: {error}"
        return ""

    def runs(self, rule: Rule) -> str:
        """Return why DuckDB does not run a rule; empty if it does. The rule must compile."""
        plan = Plan(self._rules, self._routes)
        text = plan.anchors(rule, "nothing")
        try:
            self._connection.execute(text, plan.bind.values).fetchall()
        except duckdb.Error as error:
            return f"DuckDB does not run it: {str(error).splitlines()[0]}"
        return ""

    def close(self) -> None:
        """Let go of DuckDB."""
        self._connection.close()
