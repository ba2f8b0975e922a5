"""The sections of the settings file, each in the module of its name: models with their defaults, limits and meanings."""
