"""A Kubernetes of two nodes, and its faults.

A package, so that what its files share ends with them.
"""
