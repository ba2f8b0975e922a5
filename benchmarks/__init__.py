"""Measurements beside bare DuckDB on the same file in the same run. ``python -m benchmarks`` runs them all."""
