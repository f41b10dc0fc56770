"""The gateway: the HTTP front of the pools."""
