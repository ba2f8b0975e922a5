"""Settings from the environment: the variables of the original system, and ``WATCHKEEP__SECTION__KEY``."""

from __future__ import annotations

import os
import tomllib
import types
import typing
from collections.abc import Mapping
from typing import Any

from daemon.configerror import did_you_mean
from daemon.draft import FILE_SUFFIX, Draft
from daemon.settings import Key

PREFIX = "WATCHKEEP__"

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def read_originals(environ: Mapping[str, str], draft: Draft) -> None:
    """Collect what the variables of the original system set."""
    for key in draft.known.values():
        if key.original and environ.get(key.original):
            _variable(key, key.original, environ[key.original], draft)


def read_variables(environ: Mapping[str, str], draft: Draft) -> None:
    """Collect what ``WATCHKEEP__SECTION__KEY`` sets, and which of these variables are about nothing."""
    by_variable = {key.variable: key for key in draft.known.values()}
    for name in sorted(name for name in environ if name.startswith(PREFIX)):
        key = by_variable.get(name)
        secret = by_variable.get(name.removesuffix(FILE_SUFFIX.upper()))
        if key is not None:
            _variable(key, name, environ[name], draft)
        elif secret is not None and secret.is_secret:
            draft.set_from_file(secret, environ[name], f"environment {name}", os.getcwd())
        else:
            where = f"environment {name}"
            draft.problem(where, "", "there is no such setting", did_you_mean(name, by_variable))


def _variable(key: Key, name: str, text: str, draft: Draft) -> None:
    draft.set(key, _from_text(key.info.annotation, text), f"environment {name}", os.getcwd())


def _from_text(annotation: Any, text: str) -> Any:
    """Return the value that a variable's text means; what does not fit is left to the validation to report."""
    options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    if type(None) in options and not text:
        return None
    wanted = next((option for option in options if option is not type(None)), str)
    if wanted is bool:
        lowered = text.strip().lower()
        return True if lowered in _TRUE else False if lowered in _FALSE else text
    if wanted in {int, float}:
        try:
            return wanted(text)
        except ValueError:
            return text
    origin = typing.get_origin(wanted)
    if origin is tuple and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    if origin in {tuple, dict}:
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            return text
    return text
