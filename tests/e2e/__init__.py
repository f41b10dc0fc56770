"""What users install and ask.

A package, so that what its files share ends with them.
"""
