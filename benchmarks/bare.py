"""What everything is compared with: bare DuckDB, one COPY from JSON lines to daily zstd Parquet, in a process of its own.

DuckDB is told every column and its type beforehand, which is the fastest it can be.
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb

COLUMNS = """{
    eventId: 'VARCHAR', correlationId: 'VARCHAR', timestamp: 'TIMESTAMP', level: 'VARCHAR', category: 'VARCHAR',
    action: 'VARCHAR', "user": 'STRUCT(id VARCHAR, username VARCHAR)',
    entity: 'STRUCT("type" VARCHAR, id VARCHAR, name VARCHAR)',
    request: 'STRUCT("method" VARCHAR, path VARCHAR, ip VARCHAR, userAgent VARCHAR, statusCode INTEGER, responseTime DOUBLE)',
    location: 'STRUCT(country VARCHAR, city VARCHAR)', description: 'VARCHAR', metadata: 'JSON', riskScore: 'INTEGER',
    "system": 'STRUCT(server VARCHAR, environment VARCHAR, "version" VARCHAR)'
}"""
FLAT = """
    eventId AS event_id, correlationId AS correlation_id, timestamp, level, category, action, "user".id AS user_id,
    "user".username AS username, entity."type" AS entity_type, entity.id AS entity_id, entity.name AS entity_name,
    request."method" AS "method", request.path AS path, request.ip AS ip, request.userAgent AS user_agent,
    request.statusCode AS status_code, request.responseTime AS response_time_ms, location.country AS country_code,
    location.city AS city, description, metadata, riskScore AS risk_score, "system".server AS server,
    "system".environment AS environment, "system"."version" AS "version"
"""


def copy(files: list[str], target: str, threads: int) -> None:
    """Copy the lines of ``files`` to ``target/date=…/*.parquet``."""
    with duckdb.connect() as connection:
        connection.execute(f"SET threads = {threads}")
        connection.execute(
            f"COPY (SELECT {FLAT}, timestamp::DATE AS date "
            f"FROM read_json($files, format = 'newline_delimited', columns = {COLUMNS})) "
            f"TO '{target}' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (date))",
            {"files": files},
        )


def main() -> int:
    """``bare.py THREADS TARGET FILE…``."""
    threads, target, *files = sys.argv[1:]
    Path(target).mkdir(parents=True)
    copy(files, target, int(threads))
    return 0


if __name__ == "__main__":
    sys.exit(main())
