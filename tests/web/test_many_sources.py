"""A page of facts stays small however many files are followed."""

from web.overview import SHOWN_SOURCES, shown
from web.status import SourceStatus


def source(number: int, *, state: str = "idle", size: int = 10, gaps: int = 0) -> SourceStatus:
    return SourceStatus(
        sid=f"{number:032x}",
        path=f"/logs/{number}.log",
        file=f"{number}.log",
        size=size,
        read=10,
        committed=10,
        lines=1,
        events=1,
        rejects=0,
        last_event_us=None,
        state=state,
        gaps=gaps,
    )


def test_of_many_sources_those_that_need_attention_are_shown() -> None:
    """What failed, what lost bytes and what lags comes before what is calm."""
    calm = [source(number) for number in range(SHOWN_SOURCES)]
    odd = [source(1000, state="failed"), source(1001, gaps=1), source(1002, state="live", size=5000)]

    found = shown([*calm, *odd])

    assert [entry.file for entry in found[:3]] == ["1000.log", "1001.log", "1002.log"]
    assert len(found) == SHOWN_SOURCES
    assert shown(calm) == calm
