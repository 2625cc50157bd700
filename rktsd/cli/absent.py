"""Commands of rkt 1.30 that are not here, and what to use instead."""

ABSENT = {
    "api-service": "ask rkt list --format=json and rkt status --format=json, or systemd",
}
