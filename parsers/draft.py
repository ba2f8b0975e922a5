"""A draft: what a line itself says, before times, levels and ids are settled.

The fast and the slow path both give drafts, and `parsers.finish` makes events of them, so that they cannot differ
in anything but reading JSON.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from parsers.columns import COLUMNS

# Columns that a draft holds otherwise than the event does.
_TEXT_TIMESTAMP: Final = pa.string()  # any spelling
_SCORE: Final = pa.float64()  # as the application gave it, not rounded
_OTHERWISE: Final = {"timestamp": _TEXT_TIMESTAMP, "risk_score": _SCORE}

DRAFT_SCHEMA: Final = pa.schema(
    [
        *(pa.field(c.name, _OTHERWISE.get(c.name, c.arrow)) for c in COLUMNS if c.from_line),
        pa.field("extra", pa.string()),
        pa.field("bits", pa.int32()),  # flags as bits of parsers.flags.BIT
        pa.field("offset", pa.int64()),  # in the source
        pa.field("chunk", pa.int32()),  # index of the chunk it came from
    ]
)
