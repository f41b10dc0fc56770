"""What a gateway and a worker say to each other, over one WebSocket per pair.

Both ends import this package and nothing of each other.
"""
