"""The operator: turns WorkerPools into what Kubernetes runs, and tells how they are."""
