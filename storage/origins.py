"""What the footers of new files say of where their rows come from, worked out from the committed state.

`storage.provenance` knows the footers' form; here is what a commit, a bulk import and a merge put into them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from storage.books import Books
from storage.provenance import Coverage, Maker, Origin, covered_by, newest_sources
from storage.records import Range, SourceState
from storage.snapshot import File


def commit_origin(
    books: Books, made_by: Maker, ranges: Mapping[str, Range], max_seq: int, met: Mapping[str, SourceState]
) -> Origin:
    """Return what the files of a commit of ``ranges`` say; ``met`` are the sources that its record will make known."""
    covered = covered_by(ranges, books.state, max_seq, met)
    known = newest_sources(books.state, covered) if made_by == "bulk" else ()
    return books.origin(made_by, covered, known=known)


def merge_origin(books: Books, made_by: Maker, replaced: Sequence[File], coverage: Coverage) -> Origin:
    """Return what merged files say. Called with the archive's lock held."""
    covered = coverage.of(books.state)
    known = newest_sources(books.state, covered) if made_by == "seal" else ()
    return books.origin(made_by, covered, replaces=replaced, known=known)
