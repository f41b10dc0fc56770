"""Parts together, in processes. A package, so that folders of it can be some."""
