"""Local mode: a pool on one machine, as child processes."""
