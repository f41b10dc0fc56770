"""The handlers of the routes, by what they are about. They parse, ask, and answer; no more."""
