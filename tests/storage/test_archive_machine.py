"""Hypothesis looks for a sequence of events, failures and crashes after which the archive breaks its word."""

from __future__ import annotations

from hypothesis import settings

from tests.storage.archive_machine import ArchiveMachine

TestArchiveMachine = ArchiveMachine.TestCase
TestArchiveMachine.settings = settings(max_examples=60, stateful_step_count=30)
