"""Commands of rkt 1.30 that are not here, and what to use instead."""

ABSENT = {
    "api-service": "ask rkt list --format=json and rkt status --format=json, or systemd",
    "app": "the apps of a pod are in its pod file: change it, then systemctl restart rkt@POD",
    "app add": "add the app to the pod file, then systemctl restart rkt@POD",
    "app exec": "use rkt exec --app=APP POD COMMAND",
    "app list": "rkt status --format=json POD",
    "app rm": "remove the app from the pod file, then systemctl restart rkt@POD",
    "app sandbox": "write a pod file, then systemctl start rkt@POD",
    "app start": "systemctl restart rkt@POD starts all apps of a pod",
    "app status": "systemctl status rkt-POD.APP.service",
    "app stop": "systemctl stop rkt-POD.APP.service",
    "attach": "rkt logs --follow POD shows what the apps print; they have no standard input",
}
