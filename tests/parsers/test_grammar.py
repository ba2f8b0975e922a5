"""The grammar: whatever is written is either read or refused with a place, and in linear time."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from parsers import searchlimits
from parsers.completing import place, suggestions
from parsers.expression import And, Comparison, Not, Or, comparisons, text_of
from parsers.fields import FIELDS, NAMES, folded
from parsers.forms import FormError, from_form
from parsers.grammar import Search, parse
from parsers.grammarerror import GrammarError
from parsers.searchlimits import MAX_CHARS, MAX_DEPTH, MAX_TERMS, OURS
from tests.parsers.hostile import PIECES, searches

STEPS_A_CHARACTER = (
    6  # a word is looked at as a name, as a value and as a character; nothing more often than so
)


def read(text: str) -> Search | GrammarError:
    """Return what a search means, or what is wrong with it."""
    try:
        return parse(text)
    except GrammarError as error:
        return error


def check(text: str) -> None:
    """Read a search: an expression that reads back as itself, or an error inside the text."""
    found = read(text)
    if isinstance(found, GrammarError):
        assert 0 <= found.position <= len(text)
        assert found.what
        return
    assert found.steps <= STEPS_A_CHARACTER * len(text) + 1
    if found.expression is not None:
        assert sum(max(1, len(item.values)) for item in comparisons(found.expression)) <= MAX_TERMS
        assert parse(text_of(found.expression), limits=OURS).expression == found.expression


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.soak)])
def test_hostile_searches_are_read_or_refused(count: int) -> None:
    """Never another exception, never more work than a few looks at every character."""
    for text in searches(count):
        check(text)
        suggestions(place(text, len(text) // 2))


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=20).map("".join))
@hypothesis_settings(max_examples=300)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Found by search, not only by thinking."""
    check(text)


@pytest.mark.parametrize(
    "shape",
    [
        "a ",
        "(a) ",
        "level:error ",
        '"x" ',
        "-",
        "metadata.a:1..2 ",
        "user:(a OR b) ",
        "x",
        "\\*",
        "user:a*b ",
    ],
)
def test_work_grows_with_the_length_and_no_faster(shape: str) -> None:
    """Twice the text is at most twice the work; counted, not timed."""
    short, long = (_work(shape * n) for n in (16, 32))
    assert long <= 2 * short + STEPS_A_CHARACTER


def _work(text: str) -> int:
    text = text + "z" if text.endswith("-") else text
    return parse(text).steps


def test_brackets_are_counted_and_not_recursed_into() -> None:
    """As many as the limit; one more is refused where it opens, ten thousand as well."""
    parse("(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH)
    for depth in (MAX_DEPTH + 1, MAX_CHARS - 1):
        with pytest.raises(GrammarError, match="brackets inside one another") as caught:
            parse("(" * depth + "a")
        assert caught.value.position == MAX_DEPTH


def test_limits_are_said() -> None:
    """How many characters, terms, names and how much of expressions."""
    for text, said in (
        ("x" * (MAX_CHARS + 1), "at most 8000 characters"),
        ("a " * (MAX_TERMS + 1), "more than 200 terms"),
        (f"user:({' OR '.join('a' * n for n in range(1, MAX_TERMS + 2))})"[:MAX_CHARS], ""),
        ("metadata" + ".a" * 20 + ":1", "more than 16 names"),
        ("path:~" + "a" * 257, "more than 256 characters"),
        (" ".join(f'path:~"a{{{n}}}{"b" * 40}"' for n in range(30, 60)), "too large together"),
        (r'path:~"(\pL{9}){100}"', "too large once"),
    ):
        with pytest.raises(GrammarError) as caught:
            parse(text)
        assert said in caught.value.what
    parse(" ".join(["a"] * MAX_TERMS))


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("a b OR c", "Or(And(a,b),c)"),
        ("a OR b c", "Or(a,And(b,c))"),
        ("a AND (b OR c)", "And(a,Or(b,c))"),
        ("-a b", "And(Not(a),b)"),
        ("NOT (a b)", "Not(And(a,b))"),
        ("NOT NOT -a", "Not(a)"),
        ("!(a OR -b)", "Not(Or(a,Not(b)))"),
        ("((a)) (b c)", "And(a,b,c)"),
        ("a OR (b OR c)", "Or(a,b,c)"),
        ("a a", "a"),
        ("and or not", "And(and,or,not)"),
        ('"OR"', "OR"),
        (r"a\ b", "a b"),
        (r'"\"\\d"', r'"\d'),
        ("a-b", "a-b"),
    ],
)
def test_brackets_and_joining_words_mean_what_they_do_in_logic(text: str, shape: str) -> None:
    """AND binds tighter than OR, NOT tighter than both; words in small letters are words."""
    assert _shape(parse(text).expression) == shape


def _shape(item: object) -> str:
    match item:
        case Comparison():
            return item.values[0]
        case Not(part):
            return f"Not({_shape(part)})"
        case And(parts) | Or(parts):
            return f"{type(item).__name__}({','.join(map(_shape, parts))})"
        case _:
            return "nothing"


def test_every_name_leads_to_its_field_and_no_two_to_one_place() -> None:
    """In any case, with and without underscores; a shorter name never hides a field's own."""
    for field in FIELDS:
        assert NAMES[folded(field.name)] is field
        assert NAMES[folded(field.name.upper())] is field
    owners: dict[str, set[str]] = {}
    for field in FIELDS:
        for alias in field.aliases:
            owners.setdefault(folded(alias), set()).add(field.name)
    shared = {alias: names for alias, names in owners.items() if len(names) > 1}
    assert shared == {}


def test_the_same_moment_is_meant_by_all_relative_times() -> None:
    """And a search says whether it moves."""
    found = parse("time:>-1h OR time:<-2h", now_us=10 * 3_600_000_000)
    assert found.moving
    assert [item.values for item in comparisons(found.expression)] == [
        ("32400000001", ""),
        ("", "28799999999"),
    ]
    assert not parse("time:>2026-01-01").moving


@pytest.mark.parametrize(
    ("form", "where"),
    [
        ("x", ()),
        ([1], (0,)),
        ([{}], (0, "field")),
        ([{"field": "nope"}], (0, "field")),
        ([{"field": "level", "operator": "like"}], (0, "operator")),
        ([{"field": "level", "values": ["loud"]}], (0, "values")),
        ([{"field": "level", "values": "error"}], (0, "values")),
        ([{"field": "level", "values": ["error"], "path": ["x"]}], (0, "path")),
        ([{"any": []}], (0, "any")),
        ([{"any": [{"all": [{"field": "user", "values": []}]}]}], (0, "any", 0, "all", 0, "values")),
        ([{"any": [{"field": "user", "values": ["a"]}], "all": []}], (0, "all")),
        ([{"field": "user", "values": ["a"], "exclude": "yes"}], (0, "exclude")),
        ([{"field": "user", "values": ["\ud800"]}], (0, "values")),
        ([{"field": "user", "values": ["a"] * 201}], (0, "values")),
    ],
)  # fmt: skip
def test_a_form_that_cannot_be_read_says_where(form: object, where: tuple[object, ...]) -> None:
    """By keys and places."""
    with pytest.raises(FormError) as caught:
        from_form(form, now_us=0)
    assert caught.value.where == where


def test_deep_forms_are_refused_and_not_recursed_into() -> None:
    """Before Python's own limit."""
    form: list[object] = [{"field": "user", "values": ["a"]}]
    for _ in range(500):
        form = [{"any": form}]
    with pytest.raises(FormError, match="inside one another"):
        from_form(form, now_us=0)


def test_documented_limits_are_the_real_ones() -> None:
    """docs/search.md says them in words."""
    from tests.support import ROOT

    limits = (ROOT / "docs/search.md").read_text("utf-8").partition("## Limits")[2].partition("##")[0]
    numbers = {int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?=[\s.,)])", limits)}
    from parsers import regexes

    assert {
        searchlimits.MAX_CHARS,
        MAX_TERMS,
        MAX_DEPTH,
        searchlimits.MAX_KEYS,
        regexes.MAX_CHARS,
        regexes.MAX_WEIGHT,
        regexes.CLASS_WEIGHT,
    } <= numbers
