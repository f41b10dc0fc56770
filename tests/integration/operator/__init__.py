"""The operator before a real API.

A package, so that what its files share ends with them.
"""
