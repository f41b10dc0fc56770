"""Who calls, and what they may do: API keys, tokens of Kubernetes, and the gate that asks."""
