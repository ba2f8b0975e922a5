"""Whatever applications do to their files, each complete line comes through exactly once: found by a machine."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.daemon.machine import Applications, Stored
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
