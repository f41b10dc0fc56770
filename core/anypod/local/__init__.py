"""Local mode: pools on one machine, as child processes of ``anypod up``.

One launcher starts the nursery, the gateway and, forked from the nursery, all workers at once. It
asks each worker whether it is ready, tells the gateway by the pools file, and starts again what
dies. Whatever one of these processes leaves behind when it is killed, another one ends.
"""
