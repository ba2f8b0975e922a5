"""What every shape of an answer has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Shape(BaseModel):
    """Base: an answer may get more fields in a later release, so clients must ignore what they do not know."""

    model_config = ConfigDict(extra="allow")
