"""Commands of rkt 1.30 that are not here, and what to use instead."""

ABSENT = {
    "api-service": "pods and images are on the system bus, see man org.rktsd.Manager1",
}
