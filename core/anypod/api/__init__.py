"""The HTTP API as data: requests, answers, and the table of problems."""
