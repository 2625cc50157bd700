"""From a pod's manifest to units and bundles (plan, pure), from those to a running pod (apply)."""
