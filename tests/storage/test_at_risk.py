"""How many bytes of a source are known to be there is in the ledger, and so is that they are no loss."""

from dataclasses import replace
from pathlib import Path

from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from tests.storage.made import LINE, lines, seen


def test_what_was_at_risk_of_a_source_is_taken_back_for_good(tmp_path: Path) -> None:
    """Another source has its lines: the next start expects nothing of it, and no gap was told of."""
    options = ArchiveOptions(str(tmp_path / "archive"), node="main")
    archive = Archive.open(options)
    (source,) = archive.register_all([replace(seen("a.log"), size=50, first_end=20, first_digest="d20")])
    archive.close()

    archive = Archive.open(options)
    state = archive.sources[source.sid]
    assert (state.size, state.first_end, state.first_digest) == (50, 20, "d20")
    archive.at_risk({source.sid: 70}, [])
    state = archive.sources[source.sid]
    assert (state.size, state.first_end, state.first_digest) == (70, 0, "")  # nobody knows what the rest was
    archive.at_risk({source.sid: 0}, [])
    records = archive.state.n
    archive.at_risk({source.sid: 0}, [])
    assert archive.state.n == records  # it is no news
    archive.close()

    archive = Archive.open(options)
    assert archive.sources[source.sid].size == archive.sources[source.sid].offset == 0
    assert archive.losses.untold() == []
    parsed, chunk = lines(source, 0, 2)
    archive.append(parsed, [chunk])
    archive.commit()
    state = archive.sources[source.sid]
    assert (state.offset, state.first_end, state.first_digest) == (2 * LINE, 0, "")
    archive.close()
