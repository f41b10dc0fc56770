"""Where programs and sessions live: a small key-value protocol, its drivers, and the records."""
