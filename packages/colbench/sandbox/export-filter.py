"""Exports the sandbox's system call filter for x64 and arm64 by libseccomp to seccomp.bpf, for `bwrap --seccomp`:

    apt-get install python3-seccomp && python3 packages/colbench/sandbox/export-filter.py

Namespaces isolate an answer. The filter denies what a function does not need and what would evade the resource limits:
new processes (threads share one memory limit, processes do not), memory that no limit counts, sockets (but not the
socket pairs of event loops), and rarely used interfaces of the kernel.
"""

import errno
from pathlib import Path

import seccomp

DENIED = """
    fork vfork ptrace process_vm_readv process_vm_writev kcmp pidfd_send_signal pidfd_open pidfd_getfd
    shmget shmat shmctl semget msgget mq_open memfd_create memfd_secret add_key request_key keyctl
    inotify_init inotify_init1 fanotify_init
    socket
    unshare setns mount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr
    name_to_handle_at open_by_handle_at
    bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register kexec_load kexec_file_load
    init_module finit_module delete_module quotactl quotactl_fd acct swapon swapoff reboot settimeofday adjtimex
    clock_settime clock_adjtime sethostname setdomainname syslog personality iopl ioperm
    move_pages migrate_pages mbind set_mempolicy
"""
CLONE_THREAD = 0x10000

program = seccomp.SyscallFilter(seccomp.ALLOW)
# The numbers of another architecture, or of x32 on x64, would bypass the filter.
program.set_attr(seccomp.Attr.ACT_BADARCH, seccomp.KILL_PROCESS)
for architecture in (seccomp.Arch.X86_64, seccomp.Arch.AARCH64):
    if not program.exist_arch(architecture):
        program.add_arch(architecture)
for call in DENIED.split():
    program.add_rule(seccomp.ERRNO(errno.EPERM), call)
# The C library starts threads by clone3, whose flags are in memory that a filter cannot read, or else by clone.
program.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
program.add_rule(seccomp.ERRNO(errno.EPERM), "clone", seccomp.Arg(0, seccomp.MASKED_EQ, CLONE_THREAD, 0))

with open(Path(__file__).with_name("seccomp.bpf"), "wb") as file:
    program.export_bpf(file)
