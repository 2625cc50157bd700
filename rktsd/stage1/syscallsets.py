"""The sets of system calls that seccomp isolators call by an ``@`` name.

``@rkt/default-whitelist`` and ``@docker/default-whitelist`` are the default list of this program,
which is what both programs' lists have become. The sets of systemd are those of systemd-analyze(1).
Names that a kernel or libseccomp does not know are skipped.
"""

from rktsd.stage1.syscalls import DEFAULT

BLACKLIST = tuple(
    """
    _sysctl acct add_key adjtimex bpf clock_adjtime clock_adjtime64 clock_settime clock_settime64
    create_module delete_module fanotify_init finit_module fsconfig fsmount fsopen fspick
    get_kernel_syms get_mempolicy init_module io_uring_enter io_uring_register io_uring_setup ioperm
    iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie mbind mount mount_setattr move_mount
    move_pages name_to_handle_at nfsservctl open_by_handle_at open_tree perf_event_open pivot_root
    process_vm_readv process_vm_writev ptrace query_module quotactl quotactl_fd reboot request_key
    set_mempolicy setns settimeofday stime swapoff swapon sysfs umount umount2 unshare uselib
    userfaultfd ustat vhangup vm86 vm86old
    """.split()
)

SYSTEMD = {
    "clock": "adjtimex clock_adjtime clock_adjtime64 clock_settime clock_settime64 settimeofday",
    "default": """
        arch_prctl brk cacheflush clock_getres clock_getres_time64 clock_gettime clock_gettime64
        clock_nanosleep clock_nanosleep_time64 execve exit exit_group futex futex_time64 futex_waitv
        get_robust_list get_thread_area getegid getegid32 geteuid geteuid32 getgid getgid32
        getgroups getgroups32 getpgid getpgrp getpid getppid getrandom getresgid getresgid32
        getresuid getresuid32 getrlimit getsid gettid gettimeofday getuid getuid32 membarrier mmap
        mmap2 mprotect munmap nanosleep pause prlimit64 restart_syscall riscv_flush_icache
        riscv_hwprobe rseq rt_sigreturn sched_getaffinity sched_yield set_robust_list
        set_thread_area set_tid_address set_tls sigreturn time ugetrlimit uretprobe
    """,
    "mount": """
        chroot fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree pivot_root
        umount umount2
    """,
    "network-io": """
        accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
        recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socket socketcall
        socketpair
    """,
    "obsolete": """
        _sysctl afs_syscall bdflush break create_module ftime get_kernel_syms getpmsg gtty idle lock
        mpx prof profil putpmsg query_module security sgetmask ssetmask stime stty sysfs tuxcall
        ulimit uselib ustat vserver
    """,
    "privileged": """
        _sysctl acct adjtimex bpf capset chown chown32 chroot clock_adjtime clock_adjtime64
        clock_settime clock_settime64 delete_module fanotify_init fanotify_mark fchown fchown32
        fchownat finit_module init_module ioperm iopl kexec_file_load kexec_load lchown lchown32
        nfsservctl open_by_handle_at pciconfig_iobase pciconfig_read pciconfig_write pivot_root
        quotactl quotactl_fd reboot s390_pci_mmio_read s390_pci_mmio_write setdomainname setfsuid
        setfsuid32 setgroups setgroups32 sethostname setresuid setresuid32 setreuid setreuid32
        settimeofday setuid setuid32 swapoff swapon vhangup
    """,
    "process": """
        capget clone clone3 execveat fork getrusage kill pidfd_open pidfd_send_signal prctl
        rt_sigqueueinfo rt_tgsigqueueinfo setns swapcontext tgkill times tkill unshare vfork wait4
        waitid waitpid
    """,
    "raw-io": """
        ioperm iopl pciconfig_iobase pciconfig_read pciconfig_write s390_pci_mmio_read
        s390_pci_mmio_write
    """,
}

ALL, EMPTY = "@appc.io/all", "@appc.io/empty"
DEFAULT_BLACKLIST = "@rkt/default-blacklist"

SETS: dict[str, tuple[str, ...]] = {
    "@rkt/default-whitelist": DEFAULT,
    "@docker/default-whitelist": DEFAULT,
    DEFAULT_BLACKLIST: BLACKLIST,
    "@docker/default-blacklist": BLACKLIST,
    **{f"@systemd/{name}": tuple(text.split()) for name, text in SYSTEMD.items()},
    # rkt's name for the calls that every program needs.
    "@systemd/default-whitelist": tuple(SYSTEMD["default"].split()),
}

# systemd.exec(5), SystemCallFilter=: what a list of allowed calls always holds.
ALWAYS = SETS["@systemd/default-whitelist"]
