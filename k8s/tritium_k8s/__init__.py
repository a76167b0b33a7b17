"""The Kubernetes side of Tritium: operator and node agent, still to come."""
