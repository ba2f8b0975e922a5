"""The machine of applications can fail: each known mistake of tailing, planted, is found by it or by what it shrank to."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from daemon.climbing import Climbs
from daemon.copies import Copies
from daemon.reader import Reader
from daemon.sources import Candidate, Catalogue, Known
from tests.daemon.collector import CollectorLadder
from tests.daemon.machine import Applications
from tests.daemon.test_lost_newline import cut_and_renamed
from tests.daemon.test_uncommitted import registered_twice_and_copied

EXAMPLES = 500  # most mistakes are found within ten


def rotation_by_size(patch: Callable[..., None]) -> None:
    """A known inode that is not shorter than before is the same file."""
    patch(Candidate, "holds", lambda self, known: self.size >= known.offset)


def no_seam(patch: Callable[..., None]) -> None:
    """What was read before is not compared again."""
    patch(Reader, "verify", lambda _self: None)


def torn_lines(patch: Callable[..., None]) -> None:
    """The end of the data counts as the end of a line."""
    cut = Reader._cut
    patch(Reader, "_cut", lambda self, data, size, *, finish: cut(self, data, size, finish=True))


def no_heirs(patch: Callable[..., None]) -> None:
    """A source whose file is gone is never found again under another name."""
    patch(Catalogue, "heir", lambda _self, _file, _awaited: None)


def copies_are_read(patch: Callable[..., None]) -> None:
    """A file that repeats another one is read as any other."""
    patch(Copies, "repeats", lambda _self, _candidate, _original: False)


def from_the_beginning(patch: Callable[..., None]) -> None:
    """A file that lost its end is read anew."""
    begin = Climbs.__init__

    def without(self: Climbs, binder: Any, sink: Any, _ladder: Any, *rest: Any) -> None:
        begin(self, binder, sink, None, *rest)

    patch(Climbs, "__init__", without)


def at_the_end(patch: Callable[..., None]) -> None:
    """A file that lost its end is read on from where it ends now."""
    climb = CollectorLadder.climb

    def wrong(self: CollectorLadder, sid: str, limit: int, content: Any, **named: Any) -> Any:
        reached = climb(self, sid, limit, content, **named)
        size = content.size()
        if not reached.differs or size > limit:
            return reached
        return type(reached)(size, reached.sid, True, reached.head, content.pread(1024, max(0, size - 1024)))

    patch(CollectorLadder, "climb", wrong)


def too_early(patch: Callable[..., None]) -> None:
    """As long as nothing differs is no reason to wait."""
    go_on = Climbs._go_on

    def at_once(self: Climbs, followed: Any, climb: Any, reached: Any) -> bool:
        return go_on(
            self,
            followed,
            climb,
            type(reached)(reached.offset, reached.sid, True, reached.head, reached.tail),
        )

    patch(Climbs, "_go_on", at_once)


def any_heir(patch: Callable[..., None]) -> None:
    """A source of which nothing is archived is taken over as any other."""

    def heir(self: Catalogue, file: Candidate, _awaited: Callable[[Known], bool]) -> Any:
        free = (known for known in self._alike(file) if known.source.sid not in self.reserved)
        return next((known for known in free if file.holds(known)), None)

    patch(Catalogue, "heir", heir)


def newlines_count(patch: Callable[..., None]) -> None:
    """A line that lost only its newline is half of some line."""
    climb = CollectorLadder.climb

    def wrong(self: CollectorLadder, *args: Any, **named: Any) -> Any:
        return replace(climb(self, *args, **named), unended=False)

    patch(CollectorLadder, "climb", wrong)


MUTANTS = (
    rotation_by_size,
    no_seam,
    torn_lines,
    no_heirs,
    copies_are_read,
    from_the_beginning,
    at_the_end,
    too_early,
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_planted_mistake_is_found(mutant: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Duplicates, losses or disorder: the machine does not pass."""
    mutant(monkeypatch.setattr)

    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            Applications,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=30,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
                print_blob=False,
            ),
        )


@pytest.mark.parametrize(
    ("mutant", "steps"),
    [(any_heir, registered_twice_and_copied), (newlines_count, cut_and_renamed)],
    ids=["any_heir", "newlines_count"],
)
def test_a_planted_mistake_is_found_by_what_the_machine_shrank_to(
    mutant: Callable[..., None], steps: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes several things at the right moments, which the long form alone comes upon."""
    mutant(monkeypatch.setattr)

    with pytest.raises(AssertionError, match="came twice"):
        steps()
