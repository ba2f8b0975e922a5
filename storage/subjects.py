"""One person in the archive: which events are by or about them. For a request for one's own data, and for holds.

An event counts when the person is its user (by id or name), the user it was done for, the thing it was done to, or is
named in its JSON under a key that means a person. Free text is not searched: a name in a sentence is no identity.
"""

from __future__ import annotations

import re

import orjson

from storage.filters import Bind, quote

BY = ("user_id", "username", "on_behalf_of")
# Kinds of things that are persons, in lower case.
PERSON_TYPES = ("user", "users", "account", "person", "member", "customer", "employee", "profile")
_PERSON = "(?:user|member|customer|employee|account|person|subject|owner|actor)"
# Keys of JSON objects whose value is a person, in any case and with `_`, `-` or nothing between the words; before them
# may stand what the person did or suffered: `target_user_id`, `createdBy`.
PERSON_KEYS = (
    rf"(?:[a-z0-9]+[_-]?)*?{_PERSON}(?:[_-]?(?:id|name|email|uuid|login))?s?",
    r"(?:[a-z0-9]+[_-]?)*?e?[_-]?mail(?:[_-]?address)?",
    r"login",
    r"on[_-]?behalf[_-]?of",
    r"(?:created|updated|deleted|changed|granted|approved|assigned|invited|requested)[_-]?(?:by|to|for)",
)
JSON_COLUMNS = ("metadata", "changes", "extra", "response", "request_headers")


def subject_condition(person: str, bind: Bind) -> str:
    """Return the condition that an event is by or about ``person`` (an id, a name or an address)."""
    place = bind(person)
    parts = [f"({quote(column)} IS NOT NULL AND {quote(column)} = {place})" for column in BY]
    kinds = ", ".join(bind(kind) for kind in PERSON_TYPES)
    parts.append(
        f"(coalesce(lower({quote('entity_type')}) IN ({kinds}), FALSE) AND "
        f"(coalesce({quote('entity_id')} = {place}, FALSE) OR coalesce({quote('entity_name')} = {place}, FALSE)))"
    )
    needle, pattern = bind(_spelled(person)), bind(_pattern(person))
    parts += [
        # The search for the plain text is fast and leaves few rows for the pattern.
        f"(coalesce(contains({quote(column)}, {needle}), FALSE) AND "
        f"coalesce(regexp_matches({quote(column)}, {pattern}), FALSE))"
        for column in JSON_COLUMNS
    ]
    return f"({' OR '.join(parts)})"


def _spelled(person: str) -> str:
    """Return the text as it stands between the quotes of JSON."""
    return orjson.dumps(person).decode()[1:-1]


def _pattern(person: str) -> str:
    """Return the pattern of a member whose key means a person and whose value, or one of whose list, is this one."""
    value = re.escape(_spelled(person))
    bare = rf"|{value}" if re.fullmatch(r"-?\d+", person) else ""
    keys = "|".join(PERSON_KEYS)
    one = rf'(?:"{value}"{bare})'
    other = r'(?:"(?:[^"\\]|\\.)*"|[^\[\]{},"\s]+)'
    # Old and new values of a change stand in an object or a list below the key.
    inside = rf"\{{[^{{}}]*:\s*{one}\s*[,}}]"
    listed = rf"\[\s*(?:{other}\s*,\s*)*{one}\s*[,\]]"
    return rf'(?i:"(?:{keys})"\s*:\s*)(?:{one}\s*(?:[,}}\]]|$)|{inside}|{listed})'
