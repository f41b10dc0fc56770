"""All tests. A package, so that folders of them can be some."""
