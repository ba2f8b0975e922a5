"""Whatever applications do to their files, each complete line comes through exactly once: found by a machine."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.daemon.machine import MAX_LINE, Applications, Stored
from tests.support import soak_examples

SOAK_EXAMPLES = soak_examples(3000)  # about three minutes


class ApplicationsOverAnArchive(Applications):
    """The same, with the real archive, the real parser, and rows compared instead of bytes."""

    backend = Stored


TestApplications = Applications.TestCase
TestApplications.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, derandomize=True
)  # the long form tries others

TestApplicationsOverAnArchive = ApplicationsOverAnArchive.TestCase
TestApplicationsOverAnArchive.settings = settings(
    max_examples=6, stateful_step_count=25, deadline=None, derandomize=True
)


def test_where_a_log_goes_on_is_known_to_the_next_start_before_there_is_a_line_of_it() -> None:
    """Found by the long form: replaced, copied, emptied, taken over by its copy, written anew as it was; and killed."""
    it = Applications()
    it.create_file(size=0, small=False)
    it.lose_the_last_lines(index=0, lost=1, cut=0, look=False, lines=10)
    it.kill_and_start()
    it.replace_by_rename(index=0, lost=1)
    it.copy(index=0)
    it.kill_and_start()
    it.write_the_same_anew(index=0, looks=[0.0])
    it.poll_and_commit()
    it.kill_and_start()
    it.poll_and_commit()
    it.append(index=0, lines=2, size=10)
    it.teardown()


def test_a_copy_that_ends_in_half_a_line_gives_way_to_a_fuller_one() -> None:
    """Found by the long form: a log is copied, emptied, written anew, written on, and rotated by copying before a look."""
    it = Applications()
    it.create_file(size=0, small=False)
    it.append_half_a_line(index=0)
    it.copy(index=0)
    it.write_the_same_anew(index=0, looks=[0.0])
    it.append(index=0, lines=1, size=0)
    it.rotate_by_copy_and_truncate(index=0, late=0, lines=0, look=False)
    it.teardown()


def test_of_a_log_that_went_on_after_its_copy_took_it_over_a_later_copy_is_known_to_the_next_start() -> None:
    """Found by the long form: the later copy holds all of the source that the first one took over, and the log's next lines."""
    it = Applications()
    it.create_file(size=0, small=False)
    it.copy(index=0)
    it.append(index=0, lines=1, size=0)
    it.write_the_same_anew(index=0, looks=[0.5])
    it.poll_and_commit()
    it.rotate_by_copy_and_truncate(index=0, late=1, lines=0, look=True)
    it.stop_and_start()
    it.teardown()


def test_a_later_copy_is_known_whichever_of_two_sources_that_end_at_one_place_went_on() -> None:
    """Found by the long form: the log goes on with the older of the two, its first copy has the younger one, without a byte."""
    it = Applications()
    it.create_file(size=0, small=False)
    it.copy(index=0)
    it.write_the_same_anew(index=0, looks=[0.5])
    it.stop_and_start()
    it.append(index=0, lines=1, size=0)
    it.rotate_by_copy_and_truncate(index=0, late=1, lines=1, look=True)
    it.lose_the_last_lines(cut=0, index=0, lines=0, look=True, lost=1)
    it.kill_and_start()
    it.teardown()


def test_a_log_that_was_cut_within_its_newest_source_is_not_read_on_from_an_older_one() -> None:
    """Found by the long form: its copy took it over, it went on, and lost its last line while the daemon was down."""
    it = Applications()
    it.create_file(size=0, small=False)
    it.copy(index=0)
    it.lose_the_last_lines(cut=MAX_LINE, index=0, lines=2, look=True, lost=1)
    it.copy(index=0)
    it.lose_the_last_lines(cut=0, index=0, lines=1, look=False, lost=1)
    it.kill_and_start()
    it.teardown()


def test_a_fork_that_a_kill_left_without_a_byte_is_gone_on_with_beside_a_copy_of_its_file() -> None:
    """Found by the long form: rotated by copying, cut, written on, copied; and killed before the fork's first commit."""
    it = Applications()
    it.create_file(size=0, small=False)
    it.rotate_by_copy_and_truncate(index=0, late=1, lines=5, look=True)
    it.poll(seconds=12.0)
    it.lose_the_last_lines(cut=0, index=0, lines=0, look=False, lost=1)
    it.copy(index=0)
    it.kill_and_start()
    it.teardown()


def test_a_log_that_was_cut_is_compared_with_the_one_of_two_sources_that_went_on() -> None:
    """Found by the long form: it took over the older of two sources that end at one place, and the younger has no byte."""
    it = Applications()
    it.create_file(size=0, small=True)
    it.create_file(size=0, small=False)
    it.create_file(size=0, small=False)
    it.copy(index=5)
    it.lose_the_last_lines(cut=MAX_LINE, index=5, lines=2, look=True, lost=1)
    it.lose_the_last_lines(cut=25, index=0, lines=0, look=True, lost=1)
    it.kill_and_start()
    it.copy(index=2)
    it.lose_the_last_lines(cut=0, index=2, lines=8, look=False, lost=2)
    it.kill_and_start()
    it.teardown()


def test_a_log_that_was_cut_is_not_read_on_from_a_fork_that_a_copy_took_the_lines_of() -> None:
    """Found by the long form: a full copy went on with the older of two sources; the log lost more than its newest one had."""
    it = Applications()
    it.create_file(size=17, small=False)
    it.copy(index=0)
    it.append(index=0, lines=16, size=21)
    it.write_the_same_anew(index=0, looks=[0.1, 0.9])
    it.copy(index=0)
    it.kill_and_start()
    it.write_the_same_anew(index=0, looks=[0.0, 0.4, 0.9])
    it.create_file(size=10, small=True)
    it.create_file(size=13, small=False)
    it.lose_the_last_lines(cut=21, index=0, lines=0, look=True, lost=5)
    it.stop_and_start()
    it.teardown()


def test_a_copy_goes_on_with_a_fork_that_its_own_file_holds_no_more() -> None:
    """Found by the long form: cut, written on, rotated by copying, and killed before the fork's first commit."""
    it = Applications()
    it.create_file(size=0, small=False)
    it.append(index=0, lines=1, size=0)
    it.everything_arrives()
    it.lose_the_last_lines(cut=0, index=0, lines=0, look=False, lost=1)
    it.rotate_by_copy_and_truncate(index=0, late=0, lines=1, look=False)
    it.kill_and_start()
    it.teardown()


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize(("machine", "share"), [(Applications, 1.0), (ApplicationsOverAnArchive, 0.1)])
def test_whatever_applications_do_for_long(machine: type[Applications], share: float) -> None:
    """The long form; WATCHKEEP_SOAK_EXAMPLES says how long."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=max(1, int(SOAK_EXAMPLES * share)),
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
