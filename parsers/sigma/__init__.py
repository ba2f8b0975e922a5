"""Sigma rules: read with pySigma, understood here as frozen values, run by `storage.detecting`."""
