"""Groups and keys: what the fold of habits is made of."""

import hashlib

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from parsers.grouped import NARROW, Groups, stable_order
from parsers.keyed import TEXTS_KNOWN, Hashes, Keyed

NUMBERS = st.one_of(
    st.lists(st.integers(0, 5)),
    st.lists(st.integers(NARROW - 2, NARROW + 2)),
    st.lists(st.integers(0, 2**62)),
)


@given(NUMBERS)
def test_equal_numbers_keep_their_order(numbers):
    """Small, large, and too large to be packed with their positions."""
    ids = np.array(numbers, np.int64)
    assert stable_order(ids).tolist() == np.argsort(ids, kind="stable").tolist()


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(-9, 9))))
def test_groups_say_of_each_event_what_was_before_it(events):
    """Counted one by one."""
    ids = np.array([group for group, _, _ in events], np.int64)
    flags = np.array([flag for _, flag, _ in events], bool)
    values = np.array([value for _, _, value in events], np.int64)
    groups = Groups(ids)
    before = groups.back(groups.flagged_before(flags[groups.order])).tolist()
    assert before == [
        sum(flag for other, flag, _ in events[:at] if other == group)
        for at, (group, _, _) in enumerate(events)
    ]
    by_group = {group: [value for other, _, value in events if other == group] for group in sorted(set(ids))}
    assert groups.greatest(values[groups.order]).tolist() == [max(mine) for mine in by_group.values()]
    assert groups.least(values[groups.order]).tolist() == [min(mine) for mine in by_group.values()]
    assert groups.sizes.tolist() == [len(mine) for mine in by_group.values()]
    odd = np.array([group % 2 == 1 for group in by_group], bool)
    at, inner = groups.only(odd)
    assert groups.ids[at].tolist() == sorted(group for group in ids.tolist() if group % 2)
    assert len(inner) == odd.sum()


def test_values_that_are_reduced_to_the_same_have_one_key():
    """Two editions of a browser are one device; no value has no key."""
    found = Hashes(lambda text: text[:1].encode()).column(pa.array(["a1", None, "a2", "b1"]))
    assert found.there.tolist() == [True, False, True, True]
    assert found.codes[0] == found.codes[2] != found.codes[3]
    assert len(found.keys) == 3
    assert found.at(np.array([1, 3])).codes.tolist() == [0, found.codes[3]]


def test_remembered_hashes_are_bounded_and_stay_the_same():
    """More texts than are remembered are hashed again."""
    hashes = Hashes(str.encode)
    for begin in range(0, 3 * TEXTS_KNOWN, TEXTS_KNOWN // 2):
        texts = [str(number) for number in range(begin, begin + TEXTS_KNOWN // 2)]
        found = hashes.column(pa.array(texts))
        digest = hashlib.blake2b(texts[-1].encode(), digest_size=8).digest()
        assert int(found.keys[found.codes[-1]]) == int.from_bytes(digest, "little")
        assert len(hashes) <= 2 * TEXTS_KNOWN


def test_keys_of_events_become_a_column():
    """Zero is no key."""
    column = Keyed.of(np.array([7, 0, 7, 5], np.uint64))
    assert column.keys[column.codes].tolist() == [7, 0, 7, 5]
    assert column.there.tolist() == [True, False, True, True]
