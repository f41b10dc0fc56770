"""DSPy programs on a pool that asks language models.

A package, so that what its files share ends with them.
"""
