"""What the generated events are made of: kinds, people's programs, places, words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One way an event can look: fixed texts around the parts that vary. ``share`` is a weight."""

    share: float
    level: str
    category: str
    action: str
    outcome_status: int
    entity: str
    method: str
    path: str  # before the entity's id
    tail: str  # after it
    before: str  # description before the entity's name
    after: str
    risk: int  # lowest; up to RISK_SPREAD more


RISK_SPREAD = 20
# Twenty-four pairs of category and action. Shares give 77 % info, 12 % debug, 9 % warning, 2 % error, 0.1 % critical.
KINDS = (
    Kind(150, "info", "api", "api_call", 200, "endpoint", "GET", "/api/v1/reports/", "/summary", "API call: GET ", "", 0),
    Kind(60, "debug", "api", "api_call", 304, "endpoint", "GET", "/api/v1/reports/", "", "API call: GET ", " (not modified)", 0),
    Kind(9, "error", "api", "api_call", 500, "endpoint", "GET", "/api/v1/reports/", "/summary", "API call failed: ", " raised TimeoutError", 30),
    Kind(22, "warning", "api", "validation_failed", 422, "endpoint", "POST", "/api/v1/reports/", "", "Rejected request for ", ": field 'period' is required", 10),
    Kind(130, "info", "data_management", "read", 200, "project", "GET", "/api/v1/projects/", "", "Viewed project ", "", 0),
    Kind(80, "info", "data_management", "update", 200, "project", "PATCH", "/api/v1/projects/", "", "Updated project ", ": changed status and owner", 5),
    Kind(45, "info", "data_management", "create", 201, "project", "POST", "/api/v1/projects/", "", "Created project ", "", 5),
    Kind(16, "info", "data_management", "delete", 204, "project", "DELETE", "/api/v1/projects/", "", "Deleted project ", "", 15),
    Kind(8, "warning", "data_management", "export", 200, "dataset", "GET", "/api/v1/datasets/", "/export?format=csv", "Exported data set ", " as CSV", 25),
    Kind(6, "info", "data_management", "import", 202, "dataset", "POST", "/api/v1/datasets/", "/import", "Imported data set ", "", 10),
    Kind(70, "info", "authentication", "login", 200, "auth", "POST", "/api/v1/auth/login/", "", "User login successful for ", "", 0),
    Kind(26, "warning", "authentication", "login", 401, "auth", "POST", "/api/v1/auth/login/", "", "User login failed for ", ": wrong password", 40),
    Kind(40, "info", "authentication", "logout", 204, "auth", "POST", "/api/v1/auth/logout/", "", "User logout of ", "", 0),
    Kind(14, "warning", "authorization", "read", 403, "page", "GET", "/admin/pages/", "", "Access denied to ", ": role 'member' is not enough", 35),
    Kind(6, "info", "authorization", "permission_change", 200, "role", "PUT", "/api/v1/roles/", "/members", "Changed members of role ", "", 30),
    Kind(10, "info", "user_management", "create", 201, "user", "POST", "/api/v1/users/", "", "Created account ", "", 20),
    Kind(14, "info", "user_management", "update", 200, "user", "PATCH", "/api/v1/users/", "", "Changed account ", "", 10),
    Kind(60, "info", "file_management", "file_download", 200, "file", "GET", "/api/v1/files/", "/content", "Downloaded file ", "", 0),
    Kind(45, "info", "file_management", "file_upload", 201, "file", "PUT", "/api/v1/files/", "/content", "Uploaded file ", "", 5),
    Kind(8, "info", "file_management", "share", 200, "file", "POST", "/api/v1/files/", "/shares", "Shared file ", " with an external address", 20),
    Kind(40, "info", "workflow", "workflow_execute", 202, "workflow", "POST", "/api/v1/workflows/", "/runs", "Executed workflow ", "", 0),
    Kind(6, "error", "workflow", "workflow_execute", 500, "workflow", "POST", "/api/v1/workflows/", "/runs", "Workflow ", " failed at step 3: connection reset", 25),
    Kind(57, "debug", "system_management", "system_event", 200, "job", "POST", "/internal/jobs/", "/heartbeat", "Job ", " reported progress", 0),
    Kind(14, "info", "system_management", "system_event", 200, "job", "POST", "/internal/jobs/", "/finish", "Job ", " finished", 0),
    Kind(5, "error", "system_management", "system_event", 503, "job", "POST", "/internal/jobs/", "/finish", "Job ", " could not reach its queue", 20),
    Kind(5, "info", "configuration", "update", 200, "setting", "PUT", "/api/v1/settings/", "", "Changed setting ", "", 25),
    Kind(4, "info", "configuration", "read", 200, "setting", "GET", "/api/v1/settings/", "", "Read setting ", "", 0),
    Kind(9, "warning", "security", "security_event", 429, "security", "GET", "/api/v1/search/", "", "Rate limit reached on ", "", 50),
    Kind(3.7, "warning", "security", "security_event", 403, "security", "GET", "/api/v1/files/", "", "Suspicious access pattern detected on ", "", 65),
    Kind(0.8, "critical", "security", "security_event", 403, "security", "POST", "/api/v1/auth/login/", "", "Brute force in progress against ", "", 80),
)  # fmt: skip

_SYSTEMS = (
    ("Windows NT 10.0; Win64; x64", "desktop"),
    ("Macintosh; Intel Mac OS X 10_15_7", "desktop"),
    ("X11; Linux x86_64", "desktop"),
    ("Linux; Android 14; Pixel 8", "mobile"),
    ("iPhone; CPU iPhone OS 18_1 like Mac OS X", "mobile"),
    ("iPad; CPU OS 17_6 like Mac OS X", "tablet"),
    ("X11; CrOS x86_64 14541.0.0", "desktop"),
)
_VERSIONS = range(125, 160)


def agents() -> list[tuple[str, str, str]]:
    """Return 245 user agents with their device type and browser."""
    found: list[tuple[str, str, str]] = []
    for system, device in _SYSTEMS:
        for version in _VERSIONS:
            if version % 3 == 0:
                text = f"Mozilla/5.0 ({system}; rv:{version}.0) Gecko/20100101 Firefox/{version}.0"
                found.append((text, device, "firefox"))
            else:
                text = f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0 Safari/537.36"
                found.append((text, device, "chrome"))
    return found


PLACES = (
    ("US", "New York"), ("US", "Chicago"), ("US", "San Francisco"), ("DE", "Berlin"), ("DE", "Hamburg"), ("FR", "Paris"),
    ("GB", "London"), ("IN", "Bengaluru"), ("IN", "Chennai"), ("BR", "São Paulo"), ("JP", "Tokyo"), ("CA", "Toronto"),
    ("PL", "Kraków"), ("ES", "Madrid"), ("NL", "Amsterdam"), ("SE", "Stockholm"), ("AU", "Sydney"), ("SG", "Singapore"),
    ("KR", "Seoul"), ("MX", "Mexico City"),
)  # fmt: skip
FIRST_NAMES = ("ana", "ben", "carla", "deniz", "emma", "farid", "greta", "hiro", "ines", "jonas", "kemal", "lena", "marek", "nora", "omar", "priya", "quinn", "rosa", "sven", "tara")  # fmt: skip
LAST_NAMES = ("almeida", "becker", "chandra", "dubois", "eriksen", "fischer", "garcia", "hansen", "ivanova", "jensen", "kumar", "lopez", "meyer", "novak", "okafor", "petrov", "quist", "rossi", "sato", "tanaka")  # fmt: skip
ADJECTIVES = ("quarterly", "internal", "public", "northern", "monthly", "revised", "shared", "archived", "regional", "final", "draft", "annual")  # fmt: skip
NOUNS = ("report", "roadmap", "budget", "inventory", "survey", "forecast", "handbook", "contract", "campaign", "ledger", "backlog", "audit")  # fmt: skip
SERVERS = tuple(f"app-server-{number}" for number in range(1, 9))
