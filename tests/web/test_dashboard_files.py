"""The dashboard's page and files: what is cached, what may run, and that nothing else can be fetched."""

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient

from tests.support import ROOT
from tests.web.station import Station, served
from web.keys import STATIC_FOLDER, WebOptions

PAGE = """<!doctype html>
<html data-refresh="{{refresh_seconds}}" data-version="{{version}}">
<script type="importmap">{"imports": {"app": "{{assets}}/app.js"}}</script>
<script type="module" src="{{assets}}/app.js"></script>
"""


@pytest.fixture
def static(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    (folder / "vendor").mkdir(parents=True)
    (folder / "index.html").write_text(PAGE)
    (folder / "app.js").write_text("// " + "x" * 2000)
    (folder / "vendor" / "a.mjs").write_text("export {}")
    (folder / ".hidden").write_text("no")
    return folder


@pytest.fixture
async def site(station: Station, static: Path) -> AsyncIterator[TestClient]:
    async with served(station, WebOptions(static=static, refresh_seconds=10, version="1<2")) as client:
        yield client


async def test_the_page_is_filled_in_and_never_cached(site: TestClient) -> None:
    """Values are escaped; the addresses hold the folder's digest."""
    async with site.get("/") as response:
        text = await response.text()
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.content_type == "text/html"
    assert 'data-refresh="10"' in text
    assert 'data-version="1&lt;2"' in text
    assert "{{" not in text


@pytest.mark.parametrize("folder", ["small", "real"])
async def test_the_policy_lets_exactly_the_pages_import_map_through(
    station: Station, static: Path, folder: str
) -> None:
    """Its hash is of the text as sent; nothing else inline, no other origin, Trusted Types closed."""
    options = WebOptions(static=static if folder == "small" else STATIC_FOLDER)
    async with served(station, options) as client, client.get("/") as response:
        body = await response.read()
        policy = response.headers["Content-Security-Policy"]
    maps = re.findall(rb'<script type="importmap">(.*?)</script>', body, re.DOTALL)
    assert len(maps) == 1
    digest = base64.b64encode(hashlib.sha256(maps[0]).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules == {
        "default-src": "'none'",
        "script-src": f"'self' 'sha256-{digest}'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }


async def test_assets_are_cached_for_ever_under_their_digest(site: TestClient) -> None:
    """Typed, compressed where the client takes it, and gone under any other digest."""
    async with site.get("/") as response:
        address = re.search(r'src="([^"]+)"', await response.text())
    assert address is not None
    async with site.get(address[1], headers={"Accept-Encoding": "gzip"}) as response:
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert response.headers["Content-Encoding"] == "gzip"
        assert response.headers["Vary"] == "Accept-Encoding"
        assert response.content_type == "text/javascript"
        packed = await response.text()
    for refusing in ("identity", "gzip;q=0", "br, gzip; q=0.0"):
        async with site.get(address[1], headers={"Accept-Encoding": refusing}) as response:
            assert "Content-Encoding" not in response.headers
            assert await response.text() == packed
    digest = address[1].split("/")[2]
    for path in (f"/assets/{'0' * 16}/app.js", f"/assets/{digest}/index.html", f"/assets/{digest}/.hidden"):
        async with site.get(path) as response:
            assert response.status == 404


OUTSIDE = ("../app.py", "..%2fapp.py", "%2e%2e/%2e%2e/x.toml", "/etc/passwd", "vendor/../app.js%00", "vendor")


async def test_no_path_leads_out_of_the_folder(site: TestClient) -> None:
    """Files are looked up in a dictionary that was filled at start-up."""
    async with site.get("/") as response:
        digest = re.search(r"/assets/([0-9a-f]+)/", await response.text())
    assert digest is not None
    for name in OUTSIDE:
        async with site.get(f"/assets/{digest[1]}/{name}") as response:
            assert response.status == 404, name


async def test_any_change_of_a_file_changes_every_address(station: Station, static: Path) -> None:
    """So a new release is never mixed with cached files of an old one."""
    pages = []
    for text in ("export {}", "export { }"):
        (static / "vendor" / "a.mjs").write_text(text)
        async with served(station, WebOptions(static=static)) as client, client.get("/") as response:
            pages.append(await response.text())
    assert pages[0] != pages[1]


async def test_every_address_in_the_real_page_is_served(station: Station) -> None:
    """Each style sheet, module and import of the dashboard as it ships."""
    async with served(station, WebOptions()) as client:
        async with client.get("/") as response:
            page = await response.text()
        addresses = set(re.findall(r"/assets/[^\"'\s]+", page))
        assert len(addresses) > 5
        for address in addresses:
            async with client.get(address) as response:
                assert response.status == 200, address
    assert (ROOT / "web" / "static" / "index.html").exists()


async def test_an_installation_without_a_dashboard_says_so(client: TestClient) -> None:
    """404 with the reason; the API does not need it."""
    async with client.get("/") as response:
        body = await response.json(content_type=None)
        assert (response.status, body["detail"]) == (404, "this installation has no dashboard")
