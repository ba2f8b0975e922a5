"""A small application and the people who use it: real traffic for Watchkeep to keep.

`run_demo` starts a daemon, the application and its users; ``python -m watchkeep_demo`` does the same. The
application is an ordinary aiohttp one; it logs through `watchkeep_client` and knows nothing of the daemon.
"""

from watchkeep_demo.runner import run_demo

__all__ = ["run_demo"]
