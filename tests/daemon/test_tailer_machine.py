"""Whatever applications do to their files, each complete line comes through exactly once: found by a machine."""

import os

from hypothesis import settings

from tests.daemon.machine import Applications, Stored

HOURS = float(os.environ.get("WATCHKEEP_SOAK_FACTOR", "1"))  # how many times longer the long form runs


class ApplicationsOverAnArchive(Applications):
    """The same, with the real archive, the real parser, and rows compared instead of bytes."""

    backend = Stored


TestApplications = Applications.TestCase
TestApplications.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

TestApplicationsOverAnArchive = ApplicationsOverAnArchive.TestCase
TestApplicationsOverAnArchive.settings = settings(max_examples=6, stateful_step_count=25, deadline=None)
