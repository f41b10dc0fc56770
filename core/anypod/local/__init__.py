"""Local mode: pools on one machine, as child processes of ``anypod up``.

The same manifest, gateway and workers as on Kubernetes; what Kubernetes does around them (starting,
probing, replacing) is done here, by the same readiness rule.
"""
