"""Which retention class an event belongs to: decided once, when its line is read, by category and origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from parsers.arrow import Array, Mask, mask, pc, strings

DEFAULT = "default"  # every event whose category no class names
INTERNAL = "internal"  # the daemon's own events, whatever their category
REJECTS = "rejects"  # lines that could not be parsed: nobody knows their category


@dataclass(frozen=True, slots=True)
class Classes:
    """The class of each category that has one; all others are ``default``."""

    by_category: Mapping[str, str] = field(default_factory=dict)

    def column(self, categories: Array, internal: Mask) -> Array:
        """Return the class of each row. One look-up per distinct category of the batch."""
        if self.by_category and categories.null_count < len(categories):
            encoded = categories.dictionary_encode()
            named = [self.by_category.get(name, DEFAULT) for name in strings(encoded.dictionary)]
            found: Array = pa.array(named, pa.string()).take(encoded.indices)
            found = pc.fill_null(found, DEFAULT) if found.null_count else found
        else:
            found = pa.repeat(DEFAULT, len(categories))
        if not internal.any():
            return found
        if internal.all():
            return pa.repeat(INTERNAL, len(internal))
        mixed: Array = pc.if_else(mask(internal), INTERNAL, found)
        return mixed
