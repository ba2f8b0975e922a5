"""Tells people of alerts: routes, silences, the durable outbox, and one file of payloads for all channel types."""
