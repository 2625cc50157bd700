"""Commands of rkt 1.30 that are not here, and what to use instead."""

ABSENT = {
    "api-service": "ask rkt list --format=json and rkt status --format=json, or systemd",
    "attach": "rkt logs --follow POD shows what the apps print; they have no standard input",
}
