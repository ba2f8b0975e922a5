"""Bytes in, events out: formats, the event model and everything that can be said of one line. No I/O."""
