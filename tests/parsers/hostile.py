"""Searches that nobody sends in good faith: broken, nested, huge, full of signs, and pieces of other languages."""

from __future__ import annotations

import random
from collections.abc import Iterator

PIECES = [
    "level:", "error", "user:", "metadata.", 'metadata."', "a.b.c", "status:>=", "risk:<", "ip:", "10.0.0.0/8", "::1",
    "timestamp:", "-1h", "2026-13-45", "..", "1..2", "*", "**", "\\", "\\\\", '"', "'", "(", ")", "((", "))", ":(", " OR ",
    " AND ", " NOT ", "OR", "-", "--", "!", "!!", "~", ":~", ":=", ":>", ":<", "(?=a)", "(a+)+$", "a{1000}", "[a-", "\\pL{9}",
    "'; DROP TABLE events; --", "' OR '1'='1", "$p0", "$1", "?", "{{7*7}}", "${jndi:ldap://x}", "<script>", "%00", "%s",
    "\x00", "\n", "\r", "\t", "\u202e", "\ufeff", "\ud800", "😀", "ä", "İ", "ß", "0", "-0", "1e999", "NaN", "9" * 40, "0x10",
    "text:", "anywhere:", "subject:", "source:", "tags:", "extra.", "changes.", "request.headers.", "riskReasons.reason:",
    " ", "  ", "a", "description:", ".", "..", ":", "::", ";", "/*", "*/", "//", "#", "@", "`", "|", "&", ",", "~0~1/",
]  # fmt: skip
SHAPES = [
    "(" * 4000, ")" * 4000, "(" * 33 + "a" + ")" * 33, "NOT " * 2000 + "a", "-" * 8000, "!" * 7999 + "a", '"' * 8000,
    "a " * 4000, "a OR " * 1600, "level:(" + "error OR " * 800, "metadata" + ".a" * 3900 + ":1", "metadata" + '."a"' * 1900 + ":1",
    "x" * 8000, "x" * 8001, "x" * 7990 + ":1", "*" * 8000, "user:" + "*a" * 3900, "user:" + "\\" * 7000, "user:" + "*" * 7000,
    "user:" + "1" * 7000, "status:" + "1" * 7000, "risk:" + "0" * 7000, "ip:" + ":" * 7000, "ip:" + "1." * 3500,
    "time:" + "2026-" * 1500, "description:~" + "(" * 3000, "description:~" + "a{99}" * 40, "description:~(a|b)" + "*" * 90,
    "path:~" + "\\pL" * 80, "a:" * 4000, "a:b:" * 2000, "user:(" * 1300, "user:" * 1600, " OR ".join(f"user:{n}" for n in range(500)),
    " ".join(f"metadata.k{n}:>{n}" for n in range(200)), " OR ".join(f"anywhere:w{n}" for n in range(200)), "", " ", "\x00",
    "timestamp:>9999-12-31", "timestamp:<0001-01-01", "timestamp:>=0001-01-01 timestamp:<=9999-12-31", "time:9999-12-31T23:59:59.999999Z",
    "timestamp:>2026-02-01 timestamp:<2026-01-01", "time:0001-01-01T00:00:00+14:00", "time:>-999999w", "ingestedAt:<1900-01-01",
    "(a " * 32 + ")" * 32, "(a OR -(b " * 16 + "))" * 16, "metadata.a:" + "9" * 17, "latitude:" + "9" * 16 + "." + "9" * 9,
]  # fmt: skip


def searches(count: int, *, seed: int = 1) -> Iterator[str]:
    """Yield every shape, then random rows of pieces, many of them nearly right."""
    chance = random.Random(seed)
    yield from SHAPES[:count]
    for _ in range(max(0, count - len(SHAPES))):
        length = chance.choice((1, 2, 3, 5, 8, 20, 100))
        text = "".join(chance.choice(PIECES) for _ in range(length))
        if chance.random() < 0.3:  # one character wrong
            place = chance.randrange(len(text) + 1)
            text = text[:place] + chance.choice(PIECES)[:1] + text[place + chance.randint(0, 2) :]
        yield text
