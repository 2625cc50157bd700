"""Network namespaces, CNI, published ports, resolv.conf and hosts. Knows nothing of pods."""
