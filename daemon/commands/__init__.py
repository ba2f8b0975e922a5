"""One file a command. Nothing here imports at the top what `--help` does not need."""
