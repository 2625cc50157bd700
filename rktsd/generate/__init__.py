"""Pod files from other descriptions: command lines, Quadlet files, Kubernetes manifests."""
