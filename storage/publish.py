"""The view files for outside readers: `watchkeep.duckdb` and `watchkeep.sql`, replaced whole by a rename.

Both hold the views ``events`` and ``rejects`` over exactly the committed files of all nodes, as paths relative to the
archive, so the folder can be copied. A reader that has the old file open keeps a consistent view: superseded files
stay for the grace time.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from parsers.columns import EVENT_SCHEMA, REJECT_SCHEMA
from storage.duck import LOCKED_DOWN, schema_sql
from storage.errors import ArchiveError
from storage.fs import Fs, replacing
from storage.layout import VIEW_DATABASE, VIEW_SQL, Layout
from storage.neighbours import Neighbours
from storage.shapes import complete
from storage.snapshot import File, Snapshot

# Written so that DuckDB releases from 1.0 on can open it.
STORAGE_VERSION = "v1.0.0"

_SQL_HEAD = """\
-- Views over the committed files of this archive. Run it in this folder:
--   duckdb -c ".read watchkeep.sql" -c "SELECT level, count(*) FROM events WHERE NOT internal GROUP BY level"
-- Replaced after each commit; superseded files stay for a while, so a running query is not disturbed.
"""


class Publisher:
    """Writes the view files of one archive. Not thread-safe."""

    def __init__(self, fs: Fs, layout: Layout) -> None:
        self._fs = fs
        self._layout = layout
        self._neighbours = Neighbours(fs, layout)
        self._shown: tuple[str, ...] | None = None

    @property
    def shown(self) -> frozenset[str]:
        """Paths that the published view names: they must stay, however old they are."""
        return frozenset(self._shown or ())

    def publish(self, snapshot: Snapshot) -> bool:
        """Write both files if the set of files changed; return whether they were written.

        Raises OSError or ArchiveError if that is impossible; the old files then stay.
        """
        theirs = self._neighbours.files()
        events = [*self._mine(snapshot.events), *(file for file in theirs if file.kind == "events")]
        rejects = [*self._mine(snapshot.rejects), *(file for file in theirs if file.kind == "rejects")]
        shown = tuple(file.path for file in (*events, *rejects))
        if shown == self._shown:
            return False
        united = not all(complete(self._layout.absolute(file.path)) for file in events)
        statements = [view_sql("events", events, united=united), view_sql("rejects", rejects)]
        try:
            self._replace_database(statements)
        except duckdb.Error as error:
            raise ArchiveError(
                f"the view for outside readers could not be written: {str(error).splitlines()[0]}",
                where=self._layout.absolute(VIEW_DATABASE),
                hint="everything else is safe; it is written after the next commit that finds it possible",
                retry=True,
            ) from error
        self._replace(VIEW_SQL, (_SQL_HEAD + "\n".join(f"{text};" for text in statements) + "\n").encode())
        self._shown = shown
        return True

    def _mine(self, files: Sequence[File]) -> list[File]:
        return [file for file in files if file.node == self._layout.node]

    def _replace_database(self, statements: Sequence[str]) -> None:
        temporary = self._temporary(VIEW_DATABASE)
        self._fs.unlink(temporary)
        self._fs.unlink(f"{temporary}.wal")
        with duckdb.connect(":memory:", config=LOCKED_DOWN) as connection:
            connection.execute("SET file_search_path = $1", [self._layout.root])
            quoted = temporary.replace("'", "''")
            connection.execute(f"ATTACH '{quoted}' AS published (STORAGE_VERSION '{STORAGE_VERSION}')")
            connection.execute("USE published")
            for statement in statements:
                connection.execute(statement)
            connection.execute("USE memory")
            connection.execute("DETACH published")
        self._fs.sync_file(temporary)
        self._fs.rename(temporary, self._layout.absolute(VIEW_DATABASE))
        self._fs.sync_dir(self._layout.root)

    def _replace(self, name: str, data: bytes) -> None:
        with replacing(self._fs, self._layout.absolute(name), self._temporary(name)) as handle:
            handle.write(data)

    def _temporary(self, name: str) -> str:
        return self._layout.absolute(f".{name}.{self._layout.node}.tmp")


def view_sql(name: str, files: Sequence[File], *, united: bool = True) -> str:
    """Return the statement that makes a view over some files (relative paths), or an empty view of the same columns.

    ``united``: some file may lack a column. DuckDB then opens every file before it looks at the first condition, which
    with thousands of files takes seconds, so it is left out where it can be.
    """
    schema = EVENT_SCHEMA if name == "events" else REJECT_SCHEMA
    if not files:
        columns = ", ".join(f'CAST(NULL AS {kind}) AS "{column}"' for column, kind in schema_sql(schema))
        return f'CREATE OR REPLACE VIEW "{name}" AS SELECT {columns} WHERE false'
    quoted = ", ".join("'" + file.path.replace("'", "''") + "'" for file in files)
    columns = ", ".join(f'"{column}"' for column in schema.names)
    by_name = ", union_by_name = true" if united else ""
    source = f"read_parquet([{quoted}]{by_name}, hive_partitioning = false)"
    return f'CREATE OR REPLACE VIEW "{name}" AS SELECT {columns} FROM {source}'
