"""From a pod's manifest to units and bundles (plan, pure), and from those to a running pod (apply)."""
