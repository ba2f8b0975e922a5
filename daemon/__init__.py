"""The process: tailing, committing, serving, upkeep. Only this package reads the environment."""
