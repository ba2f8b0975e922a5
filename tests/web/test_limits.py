"""How often somebody may ask, and how often somebody may send a wrong key."""

from hypothesis import given
from hypothesis import strategies as st

from storage.keyring import Keyring
from tests.web.station import NOW_US, Station, served
from web.access import AccessOptions
from web.keys import WebOptions
from web.limits import REMEMBERED, Limiter


class Hand:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(
    st.floats(0.1, 50),
    st.integers(1, 20),
    st.lists(st.floats(0, 5), min_size=1, max_size=60),
)
def test_no_window_holds_more_than_burst_and_rate_allow(rate: float, burst: int, pauses: list[float]) -> None:
    """However the requests come; and who waits as long as was said is let through."""
    clock = Hand()
    limiter = Limiter(rate, burst, clock)
    passed: list[float] = []
    for pause in pauses:
        clock.now += pause
        missing = limiter.wait("a")
        if missing == 0:
            passed.append(clock.now)
        else:
            clock.now += missing + 1e-6
            assert limiter.wait("a") == 0
            passed.append(clock.now)
    for first, start in enumerate(passed):
        for last, end in enumerate(passed[first:], first):
            assert last - first + 1 <= burst + rate * (end - start) + 1e-3


def test_callers_do_not_share_and_memory_is_bounded() -> None:
    """One who is at its end holds up nobody else; of very many the one that was silent longest is forgotten."""
    limiter = Limiter(1, 1, Hand())
    assert limiter.wait("a") == 0
    assert limiter.wait("a") > 0
    for number in range(REMEMBERED + 10):
        assert limiter.wait(f"other {number}") == 0
    assert len(limiter) == REMEMBERED
    assert Limiter(0, 1).wait("a") == 0


async def test_a_key_that_asks_too_often_is_told_when_to_come_back(station: Station) -> None:
    """429 with Retry-After, counted; health and metrics answer on, other keys too, and loopback without keys always."""
    keyring = Keyring()
    options = WebOptions(
        static=station.logs / "no", access=AccessOptions(requests_per_second=0.01, requests_burst=3)
    )
    async with served(station, options, keyring=keyring) as client:
        for _ in range(10):
            async with client.get("/events/levels") as response:
                assert response.status == 200
        one, two = (keyring.create(name, "viewer", now_us=NOW_US)[1] for name in ("one", "two"))
        found: list[int] = []
        after: str | None = None
        for _ in range(5):
            async with client.get("/events/levels", headers={"X-API-Key": one}) as response:
                found.append(response.status)
                after = response.headers.get("Retry-After")
        assert found == [200, 200, 200, 429, 429]
        assert after is not None
        assert 0 < int(after) <= 100
        for path in ("/health/live", "/health/ready", "/metrics"):
            async with client.get(path, headers={"X-API-Key": one}) as response:
                assert response.status == 200
        async with client.get("/events/levels", headers={"X-API-Key": two}) as response:
            assert response.status == 200
    denied = [entry["metadata"]["reason"] for entry in station.audited if entry["outcome"] == "denied"]
    assert denied == ["too-many-requests"]


async def test_wrong_keys_are_limited_and_right_ones_are_not_held_up(station: Station) -> None:
    """Somebody who tries keys gets 429 and one event; who has a key and the same address asks on."""
    keyring = Keyring()
    _, token = keyring.create("one", "viewer", now_us=NOW_US)
    options = WebOptions(static=station.logs / "no", access=AccessOptions(failures_per_minute=3))
    async with served(station, options, keyring=keyring) as client:
        found = []
        for number in range(6):
            async with client.get("/events", headers={"X-API-Key": f"wk_{number}"}) as response:
                found.append(response.status)
        assert found == [401, 401, 401, 429, 429, 429]
        async with client.get("/events", headers={"X-API-Key": token}) as response:
            assert response.status == 200
    denied = [entry for entry in station.audited if entry["outcome"] == "denied"]
    assert [entry["metadata"]["reason"] for entry in denied] == ["unauthorized", "too-many-requests"]
