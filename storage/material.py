"""What one answer counts from: sheets of roll-ups and of hot batches, and rows; and what it took of them."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa

from storage import rolled, sql
from storage.coded import Flags
from storage.plan import Used, plan
from storage.query import Filter, Scope
from storage.rollups import Family
from storage.scope import View, view
from storage.sheet import Sheet
from storage.sheets import Sheets, filter_key
from storage.snapshot import Snapshot


class Material:
    """What lies before one answer, on one cursor, of one snapshot. ``used`` says afterwards what was taken.

    ``seq`` limits what is seen to an earlier snapshot; with ``roll`` False everything is read from rows. ``sheets``
    are those that earlier answers left; without them roll-ups are read anew.
    """

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        snapshot: Snapshot,
        *,
        seq: int | None = None,
        roll: bool = True,
        sheets: Sheets | None = None,
    ) -> None:
        self.cursor = cursor
        self.snapshot = snapshot
        self.sheets = sheets or Sheets()
        self.used = Used()
        self._seq = seq
        self._roll = roll
        self._registered = False

    def plan(
        self, wanted: Filter, scope: Scope, whole: Family | None, across: Family | None, part: str
    ) -> rolled.Parts:
        """Decide how to count a part of the answer, as `storage.plan.plan` does, and remember it."""
        if not self._roll:
            whole = across = None
        parts = plan(
            self.snapshot, wanted, scope, whole=whole, across=across, seq=self._seq, sheets=self.sheets
        )
        self.used.note(part, parts)
        return parts

    def view(self, wanted: Filter, scope: Scope) -> View:
        """Return which files and hot rows may be seen."""
        return view(self.snapshot, wanted, scope, self._seq)

    def show_hot(self) -> None:
        """Let statements on the cursor see the hot rows; an answer from sheets alone does without."""
        if not self._registered:
            sql.show(self.cursor, self.snapshot.hot)
            self._registered = True

    def table(self, statement: sql.Statement) -> pa.Table:
        """Run a statement over rows."""
        self.show_hot()
        return statement.table(self.cursor)

    def pieces(
        self, parts: rolled.Parts, *, single: bool = False
    ) -> Iterator[tuple[Family, Sheet, int | None, int | None]]:
        """Yield every sheet of a count with its family and which of its buckets count."""
        for sums in parts.sums:
            if sums.low_us is None and sums.high_us is None and not single:
                for sheet in self.sheets.of_files(self.cursor, sums.root, sums.files, sums.family):
                    yield sums.family, sheet, None, None
            else:
                for file in sums.files:
                    yield (
                        sums.family,
                        self.sheets.of_file(sums.root, file, sums.family),
                        sums.low_us,
                        sums.high_us,
                    )
        for batch in parts.hot:
            assert parts.hot_family is not None
            yield (
                parts.hot_family,
                self.sheets.of_hot(self.snapshot.root, batch, parts.hot_family),
                None,
                None,
            )

    def chosen(self, family: Family, wanted: Filter, scope: Scope) -> Flags:
        """Return which combinations of a family count."""
        return self.sheets.combinations(family).chosen(
            self.cursor, lambda bind: rolled.words_condition(wanted, scope, bind), filter_key(wanted, scope)
        )
