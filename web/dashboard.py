"""The dashboard's files, read once at start-up and served from memory.

`index.html` is filled in (``{{assets}}``, ``{{refresh_seconds}}``, …) and never cached; everything else lies under an
address that holds a digest of the whole folder, so it can be cached for ever. Nothing is looked up by path at request
time, so there is no path to climb out of.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from web.errors import NOT_FOUND, Problem
from web.negotiation import accepted

INDEX = "index.html"
LOGIN = "login.html"
# Where the page that asks for a key is filled in, for each request.
VIEW, FAILED, AGAIN = "<!--view-->", "<!--failed-->", "<!--again-->"
ASSETS = "/assets"
DIGEST_CHARS = 16  # of the folder's SHA-256, in the address
GZIP_FROM_BYTES = 1024  # below, the head of gzip costs more than it saves
YEAR_SECONDS = 31_536_000

# `{import_map}` is the hash of the page's import map, the one inline script there is.
PAGE_CSP = (
    "default-src 'none'; script-src 'self' {import_map}; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

# The page that asks for a key has no script at all.
LOGIN_CSP = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

# A page that may send no referrer sends `Origin: null` with its forms. Over http to another machine's name browsers
# send no Sec-Fetch-Site either, so that nothing would say that a form is the page's own.
WITH_FORMS = {"Referrer-Policy": "same-origin"}

_IMPORT_MAP = re.compile(rb"<script[^>]*\btype=[\"']importmap[\"'][^>]*>(.*?)</script>", re.DOTALL)
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".html": "text/html",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".map": "application/json",
    ".woff2": "font/woff2",
    ".txt": "text/plain",
}
_TEXTS = frozenset(
    {"text/javascript", "text/css", "text/html", "image/svg+xml", "application/json", "text/plain"}
)


# What an installation without the dashboard's files shows.
_NO_LOGIN = f"""<!doctype html><html lang="en"><title>Log in</title><form method="post" action="login">{FAILED}
<label for="key">API key</label><input id="key" name="key" type="password" required>
<input name="view" type="hidden" value="{VIEW}"><button>Log in</button></form>{AGAIN}</html>""".encode()


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is sent: its type, its bytes, and the same compressed where that pays."""

    content_type: str
    body: bytes
    zipped: bytes | None


@dataclass(frozen=True, slots=True)
class Site:
    """The whole dashboard: the page, its policy, the page that asks for a key, and the assets by path below ``/assets/<digest>/``."""

    digest: str
    index: Asset | None
    login: str
    csp: str
    assets: Mapping[str, Asset]


def load(folder: Path, values: Mapping[str, str]) -> Site:
    """Read the dashboard (blocking). ``values`` fill ``{{name}}`` in the page; ``assets`` is added to them."""
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith((".", "__")) for part in path.parts[len(folder.parts) :])
    }
    whole = hashlib.sha256()
    for name, body in files.items():
        whole.update(f"{name}\0{len(body)}\0".encode() + body)
    digest = whole.hexdigest()[:DIGEST_CHARS]
    page = files.pop(INDEX, None)
    if page is not None:
        page = _filled(page, {**values, "assets": f"{ASSETS}/{digest}"})
    login = _filled(files.pop(LOGIN, _NO_LOGIN), {**values, "assets": f"{ASSETS}/{digest}"})
    return Site(
        digest=digest,
        login=login.decode(),
        index=None if page is None else _asset(INDEX, page),
        csp=PAGE_CSP.format(import_map=_import_map_hashes(page or b"")).replace("  ", " "),
        assets={name: _asset(name, body) for name, body in files.items()},
    )


def page_answer(request: web.Request, site: Site) -> web.Response:
    """Return the page."""
    if site.index is None:
        raise Problem(NOT_FOUND, "this installation has no dashboard")
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": site.csp, **WITH_FORMS}
    return _answer(request, site.index, headers)


def login_answer(site: Site, parts: Mapping[str, str]) -> web.Response:
    """Return the page that asks for a key; ``parts`` are markup for `VIEW`, `FAILED` and `AGAIN`."""
    text = site.login
    for mark, part in parts.items():
        text = text.replace(mark, part)
    headers = {"Cache-Control": "no-store", "Content-Security-Policy": LOGIN_CSP, **WITH_FORMS}
    return web.Response(text=text, content_type="text/html", charset="utf-8", headers=headers)


def asset_answer(request: web.Request, site: Site) -> web.Response:
    """Return one file of the dashboard; an address of another release is not found."""
    asset = (
        site.assets.get(request.match_info["name"]) if request.match_info["digest"] == site.digest else None
    )
    if asset is None:
        raise Problem(NOT_FOUND, "no such file of the dashboard; reload the page")
    headers = {"Cache-Control": f"public, max-age={YEAR_SECONDS}, immutable"}
    return _answer(request, asset, headers)


def _answer(request: web.Request, asset: Asset, headers: dict[str, str]) -> web.Response:
    body = asset.body
    if asset.zipped is not None:
        headers["Vary"] = "Accept-Encoding"
        if "gzip" in accepted(request.headers.get("Accept-Encoding", "")):
            headers["Content-Encoding"] = "gzip"
            body = asset.zipped
    charset = "utf-8" if asset.content_type in _TEXTS else None
    return web.Response(body=body, content_type=asset.content_type, charset=charset, headers=headers)


def _asset(name: str, body: bytes) -> Asset:
    suffix = Path(name).suffix.lower()
    kind = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    worthwhile = kind in _TEXTS and len(body) >= GZIP_FROM_BYTES
    return Asset(kind, body, gzip.compress(body, 9, mtime=0) if worthwhile else None)


def _filled(page: bytes, values: Mapping[str, str]) -> bytes:
    for name, value in values.items():
        page = page.replace(f"{{{{{name}}}}}".encode(), html.escape(value).encode())
    return page


def _import_map_hashes(page: bytes) -> str:
    """Return the sources that let the page's own import maps through, as they will be sent."""
    found = (hashlib.sha256(text).digest() for text in _IMPORT_MAP.findall(page))
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in found)
