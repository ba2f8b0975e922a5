"""What is offered in place of a search that cannot be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.grammar import parse
from parsers.grammarerror import GrammarError
from parsers.mending import LONGEST, MOST, mended

SLIPS = {
    "levl:error": "level:error",
    "level:errr": "level:error",
    "level:(error OR critcal)": "level:(error OR critical)",
    "user:ana levle:>=warnin": None,  # two slips at once are no near text
    "level:>=warnin": "level:>=warning",
    "risk:hihg": "risk:high",
    "usr.name:ana": "user.name:ana",
    "browser:chrome": "metadata.browser:chrome",
    "level:error (user:ana": "level:error (user:ana)",
    '"disk full': '"disk full"',
    "level:error)": "level:error",
    "disk OR": "disk",
    "level:error user:": "level:error",
    "a AND OR b": 'a AND "OR" b',
    "level:!error": "-level:error",
    "disk user:!ana": "disk -user:ana",
    'metadata.browser:!"a b"': '-metadata.browser:"a b"',
}

OPPOSITES = {"level:!error": "level:error", "a level:!errr": "a level:error", "-level:!error": "-level:error"}


@pytest.mark.parametrize(("wrong", "right"), SLIPS.items(), ids=list(SLIPS))
def test_a_slip_is_mended_where_it_is(wrong: str, right: str | None) -> None:
    """Nothing else of the search changes, and what is offered first is what was meant."""
    with pytest.raises(GrammarError) as caught:
        parse(wrong)
    offered = mended(wrong, caught.value.position)
    assert (right in offered) if right is not None else all(parse(text) for text in offered)


@pytest.mark.parametrize(("wrong", "opposite"), OPPOSITES.items(), ids=list(OPPOSITES))
def test_what_was_to_be_left_out_is_never_offered_alone(wrong: str, opposite: str) -> None:
    """One press would show exactly what somebody did not want to see."""
    with pytest.raises(GrammarError) as caught:
        parse(wrong)
    assert opposite not in mended(wrong, caught.value.position)


@given(st.text(alphabet='levlrosuan:()"*-!>=. OR0123~\\', max_size=40))
def test_whatever_is_offered_can_be_read(text: str) -> None:
    """For any text, and only a few of them."""
    try:
        parse(text)
    except GrammarError as error:
        offered = mended(text, error.position)
        assert len(offered) <= MOST
        for other in offered:
            assert other != text
            parse(other)


def test_a_long_text_costs_no_second_reading() -> None:
    """Every candidate would be read as a whole."""
    text = "levl:error " * (LONGEST // 10)
    assert mended(text, 0) == ()
