"""Telling callers of the ends of their jobs: whom a gateway may call, and that it is done."""
