"""What the demonstration's application holds in memory: accounts, sessions, projects and their files."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import secrets
import time
from dataclasses import dataclass, field

# Low enough that a login takes milliseconds in a demonstration; a real application takes 100,000s.
PBKDF2_ROUNDS = 2_000
# This many wrong passwords in a row close an account for a while.
LOCK_AFTER = 5
LOCK_SECONDS = 20.0
# Downloads of one session within the window that look like somebody taking everything.
MASS_DOWNLOADS = 12
MASS_WINDOW_SECONDS = 60.0


@dataclass(slots=True)
class Account:
    """One person. The password is kept as salt and hash only."""

    id: int
    username: str
    role: str
    salt: bytes
    digest: bytes
    failures: int = 0
    locked_until: float = 0.0  # seconds of the monotonic clock

    def accepts(self, password: str) -> bool:
        """True when ``password`` is this account's; takes the same time either way."""
        return hmac.compare_digest(self.digest, _digest(password, self.salt))


@dataclass(slots=True)
class Session:
    """One login, and when it downloaded files."""

    token: str
    account: Account
    downloads: list[float] = field(default_factory=list)

    def count_download(self) -> int:
        """Note a download and return how many there were within the window."""
        now = time.monotonic()
        self.downloads = [moment for moment in self.downloads if now - moment < MASS_WINDOW_SECONDS] + [now]
        return len(self.downloads)


@dataclass(slots=True)
class Upload:
    """One file of a project."""

    id: int
    name: str
    content: bytes


@dataclass(slots=True)
class Project:
    """One project: who owns it and its files by id."""

    id: int
    name: str
    owner: str
    files: dict[int, Upload] = field(default_factory=dict)

    def average_size(self) -> float:
        """Return the mean size of the files in bytes.

        Nobody thought of a project without files: the division by zero is this application's real bug, and the
        log shows who ran into it.
        """
        return sum(len(upload.content) for upload in self.files.values()) / len(self.files)


class State:
    """Everything the application knows. One event loop uses it, so it needs no locks."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.sessions: dict[str, Session] = {}
        self.projects: dict[int, Project] = {}
        self._numbers = itertools.count(1)

    def add_account(self, username: str, password: str, role: str) -> Account:
        """Create an account with the role user, admin or service."""
        salt = secrets.token_bytes(16)
        account = Account(len(self.accounts) + 1, username, role, salt, _digest(password, salt))
        self.accounts[username] = account
        return account

    def open_session(self, account: Account) -> Session:
        """Log ``account`` in."""
        session = Session(secrets.token_urlsafe(24), account)
        self.sessions[session.token] = session
        return session

    def add_project(self, name: str, owner: str) -> Project:
        """Create an empty project."""
        project = Project(next(self._numbers), name, owner)
        self.projects[project.id] = project
        return project

    def add_file(self, project: Project, name: str, content: bytes) -> Upload:
        """Put a file into ``project``."""
        upload = Upload(next(self._numbers), name, content)
        project.files[upload.id] = upload
        return upload


def _digest(password: str, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, PBKDF2_ROUNDS)
