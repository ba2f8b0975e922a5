"""Tests that need a mount run in a namespace of their own where mounting is not allowed."""

from __future__ import annotations

import pytest

from tests.faults.mounts import mountable, run_in_namespace


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Take the place of a call that could not mount."""
    if pyfuncitem.get_closest_marker("mounts") is None or mountable():
        return None
    run_in_namespace(pyfuncitem)
    return True
