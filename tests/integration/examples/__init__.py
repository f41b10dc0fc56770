"""The examples, as they are shown.

A package, so that what its files share ends with them.
"""
