"""Settings of systemd that no pod file can give, each with the reason. Data."""

from __future__ import annotations

_BY_REASON = {
    # Life and unit
    "rkt gives the unit its command: use the field exec": "ExecStart",
    "it would run on the host: use systemctl edit on the app's unit": (
        "ExecCondition ExecStartPre ExecStartPost ExecReload ExecStop ExecStopPost"
    ),
    "an app ends when its first process ends": "ExitType GuessMainPID PIDFile RemainAfterExit",
    "an app has no bus of its own": "BusName",
    "an app cannot be told to load its configuration again: use Restart": "ReloadSignal",
    "use a port with socket-activated": "Sockets",
    "nothing of an app lies where it would look": "TimeoutCleanSec",
    "systemd does not take it for transient units": "JobTimeoutSec",
    "there is no such thing as USB gadgets here": "USBFunctionDescriptors USBFunctionStrings",
    "obsolete: write StartLimitIntervalSec": "StartLimitInterval",
    "obsolete": "PermissionsStartOnly RootDirectoryStartOnly",
    # Kill
    "SIGTERM has to reach systemd-nspawn alone": (
        "KillMode SendSIGHUP RestartKillSignal IgnoreSIGPIPE"
    ),
    # Place
    "an app lies in the slice of its pod": "Slice",
    "systemd-nspawn needs it": "Delegate DelegateSubgroup",
    "an ended app has to go away for the pod to be started again": "CollectMode",
    "a pod goes when its last app is gone": "StopWhenUnneeded",
    "an app is stopped and started by its pod alone": (
        "RefuseManualStart RefuseManualStop AllowIsolate IgnoreOnIsolate DefaultDependencies"
        " OnFailureIsolate JoinsNamespaceOf SourcePath PropagatesReloadTo ReloadPropagatedFrom"
        " PropagateReloadTo PropagateReloadFrom"
    ),
    "obsolete: write BindsTo": "BindTo",
    "obsolete: write Requires": "RequiresOverridable",
    "obsolete: write Requisite": "RequisiteOverridable",
    "give the condition to the pod: systemctl edit rkt@POD": " ".join(
        f"{kind}{what}"
        for kind in ("Condition", "Assert")
        for what in (
            "ACPower Architecture CPUFeature CPUPressure CPUs Capability ControlGroupController"
            " Credential DirectoryNotEmpty Environment FileIsExecutable FileNotEmpty Firmware"
            " FirstBoot Group Host IOPressure KernelCommandLine KernelVersion Memory"
            " MemoryPressure NeedsUpdate OSRelease PathExists PathExistsGlob PathIsDirectory"
            " PathIsEncrypted PathIsMountPoint PathIsReadWrite PathIsSocket PathIsSymbolicLink"
            " Security User Version Virtualization"
        ).split()
    ),
    # Resources of cgroup v1
    "obsolete: write MemoryMax": "MemoryLimit",
    "obsolete: write CPUWeight": "CPUShares StartupCPUShares",
    "obsolete: write the setting that begins with IO": (
        "BlockIOAccounting BlockIODeviceWeight BlockIOReadBandwidth BlockIOWriteBandwidth"
        " BlockIOWeight StartupBlockIOWeight"
    ),
    # Users and rights
    "use the field user": "DynamicUser PAMName SetLoginEnvironment",
    "an app has a mount and a user namespace of systemd-nspawn": "PrivateUsers",
    "use the fields capabilities-retain and user": "SecureBits",
    "the filter of an app has no log": "SystemCallLog",
    "the filter of an app is for the image's own architecture": "SystemCallArchitectures",
    "only CAP_SYS_ADMIN makes namespaces, and systemd-nspawn needs them": "RestrictNamespaces",
    "systemd-nspawn does not hand it on": "SmackProcessLabel",
    # Root
    "the root of an app is its image": (
        "RootDirectory RootImage RootImageOptions RootImagePolicy RootHash RootHashSignature"
        " RootVerity RootEphemeral ExtensionImages ExtensionImagePolicy ExtensionDirectories"
        " MountImages MountImagePolicy MountAPIVFS MountFlags BindLogSockets ExecSearchPath"
    ),
    "use volumes": (
        "TemporaryFileSystem RuntimeDirectory RuntimeDirectoryMode"
        " RuntimeDirectoryPreserve StateDirectory StateDirectoryMode CacheDirectory"
        " CacheDirectoryMode LogsDirectory LogsDirectoryMode ConfigurationDirectory"
        " ConfigurationDirectoryMode"
    ),
    "use the field read-only-root and volumes": (
        "ProtectSystem ReadWritePaths ReadOnlyPaths ExecPaths NoExecPaths"
        " ReadWriteDirectories ReadOnlyDirectories InaccessibleDirectories"
    ),
    "an app sees nothing of the host there": (
        "PrivateDevices ProtectProc ProcSubset PrivateIPC IPCNamespacePath PrivatePIDs RemoveIPC"
    ),
    "an app cannot do that without the capability for it": (
        "ProtectClock ProtectKernelTunables ProtectKernelModules ProtectKernelLogs"
        " ProtectControlGroups"
    ),
    "use the field hostname": "ProtectHostname",
    "use the field network": "PrivateNetwork NetworkNamespacePath",
    # Environment and streams
    "use the field environment": "EnvironmentFile PassEnvironment UnsetEnvironment",
    "use the fields stdin, stdout and stderr": (
        "StandardInput StandardOutput StandardError StandardInputText StandardInputData TTYPath"
        " TTYReset TTYVHangup TTYVTDisallocate TTYRows TTYColumns"
    ),
    "it is the name of the app": "SyslogIdentifier",
    "rkt logs would not find the app's lines": "LogNamespace",
    "an app is no login": "UtmpIdentifier UtmpMode",
}

REFUSED: dict[str, str] = {
    name: reason for reason, names in _BY_REASON.items() for name in names.split()
}
