"""The common spelling of a time, for whole batches: `2026-11-23T10:00:00[.fraction]` with `Z`, or without a zone in UTC.

Every other spelling, and every text that only looks like this one, is left to `parsers.timestamps`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from parsers.arrow import Array, Bytes, Int64s, Mask
from parsers.arrow import texts as texts_of
from parsers.moments import DAY_US, SECOND_US

_SHAPE: Final = "0000-00-00T00:00:00"
_DIGITS: Final = [at for at, char in enumerate(_SHAPE) if char == "0"]
_MARKS: Final = [(at, ord(char)) for at, char in enumerate(_SHAPE) if char in "-:"]
_DAYS_IN_MONTH: Final = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.int64)
_FRACTIONS: Final = (0, 3, 6, 9)  # digits that writers give
_ZERO = ord("0")


def iso_times(texts: Array, *, naive_is_utc: bool) -> tuple[Int64s, Mask]:
    """Return microseconds since 1970 UTC per text, and where that is known."""
    rows = len(texts)
    us, known = np.zeros(rows, np.int64), np.zeros(rows, bool)
    offsets, block = texts_of(texts)
    lengths = np.diff(offsets)
    for fraction in _FRACTIONS:
        for zoned in (True, False) if naive_is_utc else (True,):
            size = len(_SHAPE) + (fraction + 1 if fraction else 0) + zoned
            at = np.flatnonzero(lengths == size)
            if len(at):
                letters = _letters(block, offsets, at, size, rows)
                us[at], known[at] = _read(letters, fraction, zoned=zoned)
    return us, known


def _letters(block: Bytes, offsets: npt.NDArray[np.int32], at: Int64s, size: int, rows: int) -> Bytes:
    """One row of bytes per text, transposed so that each position is contiguous."""
    if len(at) == rows:
        return np.ascontiguousarray(block[offsets[0] : offsets[0] + rows * size].reshape(rows, size).T)
    return np.ascontiguousarray(block[offsets[at][:, None] + np.arange(size)].T)


def _read(letters: Bytes, fraction: int, *, zoned: bool) -> tuple[Int64s, Mask]:
    digits = letters - _ZERO  # wraps round for what is below "0", so one comparison finds every other byte
    good = (letters[10] == ord("T")) | (letters[10] == ord(" "))
    for place, mark in _MARKS:
        good &= letters[place] == mark
    places = [*_DIGITS, *range(len(_SHAPE) + 1, len(_SHAPE) + 1 + fraction)]
    for place in places:
        good &= digits[place] <= 9
    if fraction:
        good &= (letters[len(_SHAPE)] == ord(".")) | (letters[len(_SHAPE)] == ord(","))
    if zoned:
        good &= letters[-1] == ord("Z")

    def number(start: int, size: int) -> Int64s:
        value = np.zeros(digits.shape[1], np.int64)
        for place in range(start, start + size):
            value = value * 10 + digits[place]
        return value

    year, month, day = number(0, 4), number(5, 2), number(8, 2)
    hour, minute, second = number(11, 2), number(14, 2), number(17, 2)
    good &= (year >= 1) & (month >= 1) & (month <= 12) & (hour <= 23) & (minute <= 59) & (second <= 59)
    leap = ((year % 4 == 0) & (year % 100 != 0)) | (year % 400 == 0)
    longest = _DAYS_IN_MONTH[np.where(good, month, 1)] + (leap & (month == 2))
    good &= (day >= 1) & (day <= longest)
    micros = number(len(_SHAPE) + 1, min(fraction, 6)) * (1000 if fraction == 3 else 1)
    seconds = hour * 3600 + minute * 60 + second
    return _days(year, month, day) * DAY_US + seconds * SECOND_US + micros, good


def _days(year: Int64s, month: Int64s, day: Int64s) -> Int64s:
    """Days since 1970-01-01 in the Gregorian calendar: years are counted from March, so that leap days come last."""
    year = year - (month <= 2)
    era = year // 400
    year_of_era = year - era * 400
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    days: Int64s = era * 146_097 + day_of_era - 719_468
    return days
