"""The archive: hot rows, the ledger, Parquet files and the queries over them. Only this package imports duckdb."""
