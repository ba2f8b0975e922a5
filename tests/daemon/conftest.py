"""What the tests of tailing share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.test_tailer import Followed


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Followed]:
    """A folder that a real tailer follows, with everything behind it that commits."""
    made = Followed(tmp_path)
    yield made
    made.tailer.close()
