"""Hypothesis looks for a sequence of events, failures and crashes after which the archive breaks its word."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.storage.archive_machine import ArchiveMachine
from tests.storage.test_sealing_machine import SealingMachine
from tests.support import soak_examples

SOAK_EXAMPLES = soak_examples(1000)  # of each machine

TestArchiveMachine = ArchiveMachine.TestCase
TestArchiveMachine.settings = settings(max_examples=60, stateful_step_count=30)


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("machine", [ArchiveMachine, SealingMachine])
def test_whatever_happens_to_an_archive_for_long(machine: type[RuleBasedStateMachine]) -> None:
    """The long form; WATCHKEEP_SOAK_EXAMPLES says how long."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=SOAK_EXAMPLES,
            stateful_step_count=60,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
