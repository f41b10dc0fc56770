"""Runs whose callers do not wait: accepted, claimed, run, and taken over from dead gateways."""
