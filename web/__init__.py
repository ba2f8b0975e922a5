"""The HTTP API and the dashboard. Only this package serves."""
