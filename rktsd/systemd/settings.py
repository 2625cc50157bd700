"""Every setting of a service, a slice and of units in general (systemd.exec, .kill, .service,
.resource-control, .unit(5)), and what becomes of it in a pod file. Data.

In exactly one of three: PASSED goes to the bus as the D-Bus type of its form, TRANSLATED is done by
rktsd since it would hit systemd-nspawn instead of the app, REFUSED has a reason.
"""

from __future__ import annotations

# form → (D-Bus signature, settings). The forms' readers are in ``properties``.
PASSED: dict[str, tuple[str, str]] = {
    "bytes": (
        "t",
        "MemoryMin MemoryLow MemoryHigh MemoryMax MemorySwapMax MemoryZSwapMax StartupMemoryLow"
        " StartupMemoryHigh StartupMemoryMax StartupMemorySwapMax StartupMemoryZSwapMax"
        " DefaultMemoryMin DefaultMemoryLow DefaultStartupMemoryLow",
    ),
    "tasks": ("t", "TasksMax"),
    "weight": ("t", "IOWeight StartupIOWeight"),
    "cpu-weight": ("t", "CPUWeight StartupCPUWeight"),
    "quota": ("t", "CPUQuota"),
    "timespan": (
        "t",
        "CPUQuotaPeriodSec MemoryPressureThresholdSec ManagedOOMMemoryPressureDurationSec"
        " RestartSec RestartMaxDelaySec TimeoutStartSec TimeoutStopSec TimeoutAbortSec"
        " RuntimeMaxSec RuntimeRandomizedExtraSec StartLimitIntervalSec JobRunningTimeoutSec"
        " LogRateLimitIntervalSec",
    ),
    "nanoseconds": ("t", "TimerSlackNSec"),
    "timeouts": ("t", "TimeoutSec"),
    "boolean": (
        "b",
        "CPUAccounting MemoryAccounting TasksAccounting IOAccounting IPAccounting"
        " MemoryZSwapWriteback CoredumpReceive SendSIGKILL SyslogLevelPrefix"
        " CPUSchedulingResetOnFork LockPersonality MemoryDenyWriteExecute MemoryKSM"
        " RestrictRealtime RestrictSUIDSGID NonBlocking SurviveFinalKillSignal",
    ),
    "string": (
        "s",
        "DevicePolicy ManagedOOMSwap ManagedOOMMemoryPressure ManagedOOMPreference"
        " MemoryPressureWatch OOMPolicy Restart RestartMode TimeoutStartFailureMode"
        " TimeoutStopFailureMode FileDescriptorStorePreserve KeyringMode Personality"
        " FailureAction SuccessAction StartLimitAction JobTimeoutAction JobTimeoutRebootArgument"
        " RebootArgument OnFailureJobMode OnSuccessJobMode Description",
    ),
    "integer": (
        "i",
        "OOMScoreAdjust Nice CPUSchedulingPriority IOSchedulingPriority FailureActionExitStatus"
        " SuccessActionExitStatus",
    ),
    "unsigned": ("u", "StartLimitBurst LogRateLimitBurst RestartSteps FileDescriptorStoreMax"),
    "signal": ("i", "FinalKillSignal WatchdogSignal"),
    "cpu-policy": ("i", "CPUSchedulingPolicy"),
    "io-class": ("i", "IOSchedulingClass"),
    "numa-policy": ("i", "NUMAPolicy"),
    "log-level": ("i", "LogLevelMax SyslogLevel"),
    "log-facility": ("i", "SyslogFacility"),
    "pressure": ("u", "ManagedOOMMemoryPressureLimit"),
    "coredump": ("t", "CoredumpFilter"),
    "numbers": (
        "ay",
        "CPUAffinity NUMAMask AllowedCPUs StartupAllowedCPUs AllowedMemoryNodes"
        " StartupAllowedMemoryNodes",
    ),
    "words": (
        "as",
        "Documentation DisableControllers IPIngressFilterPath IPEgressFilterPath After Before"
        " Requires Requisite Wants BindsTo PartOf Upholds Conflicts OnFailure OnSuccess"
        " PropagatesStopTo StopPropagatedFrom RequiresMountsFor WantsMountsFor ImportCredential",
    ),
    "set": ("(bas)", "RestrictAddressFamilies RestrictFileSystems RestrictNetworkInterfaces"),
    "statuses": ("(aiai)", "SuccessExitStatus RestartPreventExitStatus RestartForceExitStatus"),
    "device": ("a(ss)", "DeviceAllow"),
    "device-weight": ("a(st)", "IODeviceWeight"),
    "device-rate": (
        "a(st)",
        "IOReadBandwidthMax IOWriteBandwidthMax IOReadIOPSMax IOWriteIOPSMax",
    ),
    "device-time": ("a(st)", "IODeviceLatencyTargetSec"),
    "addresses": ("a(iayu)", "IPAddressAllow IPAddressDeny"),
    "bind": ("a(iiqq)", "SocketBindAllow SocketBindDeny"),
    "pairs": ("a(ss)", "BPFProgram LoadCredential LoadCredentialEncrypted"),
    "secrets": ("a(say)", "SetCredential"),
    "encrypted-secrets": ("a(say)", "SetCredentialEncrypted"),
    "nft-sets": ("a(iiss)", "NFTSet"),
    "patterns": ("a(bs)", "LogFilterPatterns"),
    "fields": ("aay", "LogExtraFields"),
    "files": ("a(sst)", "OpenFile"),
}

LIMITS: dict[str, str] = {
    "limit-bytes": "LimitCORE LimitFSIZE LimitDATA LimitSTACK LimitRSS LimitMEMLOCK LimitAS"
    " LimitMSGQUEUE",
    "limit": "LimitNOFILE LimitNPROC LimitLOCKS LimitSIGPENDING LimitRTPRIO",
    "limit-nice": "LimitNICE",
    "limit-seconds": "LimitCPU",
    "limit-microseconds": "LimitRTTIME",
}
"""The resource limits, by the form of their values. Of bundles."""

# Settings of an app that fields of the pod file say as well, and which become these.
FIELDS = {
    "User": "user",
    "Group": "group",
    "SupplementaryGroups": "supplementary-gids",
    "WorkingDirectory": "working-directory",
    "Environment": "environment",
    "CapabilityBoundingSet": "capabilities-retain or capabilities-remove",
    "NoNewPrivileges": "no-new-privileges",
    "BindPaths": "mounts",
    "BindReadOnlyPaths": "mounts",
    "SystemCallFilter": "seccomp-retain or seccomp-remove",
    "SystemCallErrorNumber": "seccomp-errno",
    "SELinuxContext": "selinux-context",
    "AppArmorProfile": "apparmor-profile",
    "KillSignal": "stop-signal",
}

# Settings that are so for every app, and the words that mean yes beside yes.
HELD = {"PrivateTmp": "disconnected", "PrivateMounts": "", "ProtectHome": "read-only tmpfs"}

TRANSLATED = frozenset(
    {*FIELDS, *HELD, *" ".join(LIMITS.values()).split()}
    | {"AmbientCapabilities", "Type", "NotifyAccess", "WatchdogSec", "UMask", "InaccessiblePaths"}
)
"""What ``stage1`` or the reader of pod files does itself."""

# Of what is refused, what keeps an app of stage1 fly from the host, with its D-Bus type: it is one
# of systemd's own services, and has nothing of what systemd-nspawn does for others.
OF_FLY = {
    **dict.fromkeys(
        (
            "PrivateDevices", "ProtectClock", "ProtectControlGroups", "ProtectHostname",
            "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables",
        ),
        "b",
    ),
    "ProtectProc": "s",
}  # fmt: skip

# A slice has these and those of systemd.unit(5).
_UNIT = (
    "Description Documentation StartLimitIntervalSec StartLimitBurst StartLimitAction"
    " FailureAction SuccessAction FailureActionExitStatus SuccessActionExitStatus RebootArgument"
    " JobRunningTimeoutSec JobTimeoutAction JobTimeoutRebootArgument OnFailureJobMode"
    " OnSuccessJobMode After Before Requires Requisite Wants BindsTo PartOf Upholds Conflicts"
    " OnFailure OnSuccess PropagatesStopTo StopPropagatedFrom RequiresMountsFor WantsMountsFor"
    " SurviveFinalKillSignal"
)
_RESOURCES = (
    "CPUAccounting MemoryAccounting TasksAccounting IOAccounting IPAccounting MemoryZSwapWriteback"
    " CPUQuotaPeriodSec MemoryPressureThresholdSec ManagedOOMMemoryPressureDurationSec"
    " MemoryPressureWatch ManagedOOMSwap ManagedOOMMemoryPressure ManagedOOMPreference"
    " ManagedOOMMemoryPressureLimit DevicePolicy DeviceAllow DisableControllers"
    " AllowedCPUs StartupAllowedCPUs AllowedMemoryNodes StartupAllowedMemoryNodes CPUQuota TasksMax"
    " IPIngressFilterPath IPEgressFilterPath RestrictNetworkInterfaces BPFProgram NFTSet"
    " IPAddressAllow IPAddressDeny SocketBindAllow SocketBindDeny"
)
_RESOURCE_FORMS = ("bytes", "weight", "cpu-weight", "device-weight", "device-rate", "device-time")
OF_SLICES = frozenset(_UNIT.split()) | frozenset(
    f"{_RESOURCES} {' '.join(PASSED[form][1] for form in _RESOURCE_FORMS)}".split()
)

# What is added to where it is set again, so that what rktsd itself says there stays.
ADDED = frozenset(
    name for form in ("device", "fields", "statuses") for name in PASSED[form][1].split()
) | {"After", "Before", "Requires", "Wants", "OnFailure", "OnSuccess", "Documentation"}


def known(setting: str) -> bool:
    """Whether a setting is one of systemd's that is passed on or translated."""
    return setting in TRANSLATED or any(setting in names.split() for _, names in PASSED.values())
