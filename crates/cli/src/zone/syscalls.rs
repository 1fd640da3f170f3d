//! The filter of system calls: a list of what serving connections takes, and
//! EPERM for everything else. What nobody but an intruder would try ends the
//! process at once, which its parent reports.

use std::collections::BTreeMap;

use anyhow::Context as _;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

use super::sandbox::Reach;

/// Allowed whatever their arguments are.
const ALLOWED: &[i64] = &[
    // Connections that are there: reading, writing, looking, ending.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_accept4,
    libc::SYS_accept,
    libc::SYS_shutdown,
    libc::SYS_close,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    // Waiting for them.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_fcntl,
    // Memory; pages that are code are looked at below.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    // Threads, which end themselves, wait for each other and take turns.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getcpu,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Time and chance.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    // Who am I, which the C library asks at times.
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    // Answered with ENOSYS by another filter, so that clone(2) is used instead,
    // whose flags can be looked at.
    libc::SYS_clone3,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// Tried by intruders alone: other programs, other processes, the kernel.
const FATAL: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_keyctl,
    libc::SYS_add_key,
];

/// The bits of the type of a socket that say its kind; others are flags.
const SOCKET_KIND: u64 = 0xf;
/// `PR_SET_VMA`, with which allocators name their memory.
const PR_SET_VMA: u64 = 0x5356_4d41;

/// Filters the calls of this thread and all that it will start.
///
/// # Errors
/// The kernel or the processor is not supported; nothing is filtered then.
pub(crate) fn filter(reach: Reach) -> anyhow::Result<()> {
    let errno = |number: i32| SeccompAction::Errno(number.unsigned_abs());
    let listed = |calls: &[i64]| calls.iter().map(|call| (*call, Vec::new())).collect();
    // The strictest answer of all counts. The list comes last: it lets nobody
    // add a filter.
    let mut forbidden: Rules = listed(FATAL);
    forbidden.insert(libc::SYS_setsockopt, filters_of_sockets()?);
    let fatal = compile(forbidden, SeccompAction::Allow, SeccompAction::KillProcess)?;
    let absent = compile(listed(&[libc::SYS_clone3]), SeccompAction::Allow, errno(libc::ENOSYS))?;
    let allowed = compile(allowed(reach)?, errno(libc::EPERM), SeccompAction::Allow)?;
    for program in [fatal, absent, allowed] {
        apply_filter(&program)?;
    }
    Ok(())
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn compile(
    rules: Rules,
    mismatch: SeccompAction,
    found: SeccompAction,
) -> anyhow::Result<BpfProgram> {
    let arch: TargetArch =
        std::env::consts::ARCH.try_into().context("this processor is not supported")?;
    Ok(SeccompFilter::new(rules, mismatch, found, arch)?.try_into()?)
}

fn allowed(reach: Reach) -> anyhow::Result<Rules> {
    let mut rules: Rules = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let own = u64::from(std::process::id());
    let flag = |bit: i32| u64::from(bit.unsigned_abs());
    // A thread, not a process.
    let thread = flag(libc::CLONE_THREAD);
    rules.insert(libc::SYS_clone, vec![rule(0, SeccompCmpOp::MaskedEq(thread), thread)?]);
    // No memory that can be run: nothing new may become code.
    let code = flag(libc::PROT_EXEC);
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![rule(2, SeccompCmpOp::MaskedEq(code), 0)?]);
    }
    // Signals to itself, as abort(3) sends them.
    rules.insert(libc::SYS_tgkill, vec![rule(0, SeccompCmpOp::Eq, own)?]);
    let names = [flag(libc::PR_SET_NAME), PR_SET_VMA];
    let names = names.map(|name| rule(0, SeccompCmpOp::Eq, name));
    rules.insert(libc::SYS_prctl, names.into_iter().collect::<Result<_, _>>()?);
    rules.insert(libc::SYS_ioctl, vec![rule(1, SeccompCmpOp::Eq, libc::FIONBIO)?]);
    // The pair that the runtime wakes itself up with.
    let local = flag(libc::AF_UNIX);
    rules.insert(libc::SYS_socketpair, vec![rule(0, SeccompCmpOp::Eq, local)?]);
    if reach == Reach::Outward {
        // TCP and UDP over IPv4 and IPv6; no raw packets, nothing of the kernel's.
        let families = [libc::AF_INET, libc::AF_INET6].map(flag);
        let kinds = [libc::SOCK_STREAM, libc::SOCK_DGRAM].map(flag);
        let sockets =
            families.iter().flat_map(|family| kinds.iter().map(move |kind| (*family, *kind)));
        let sockets = sockets.map(|(family, kind)| {
            let kind = condition(1, SeccompCmpOp::MaskedEq(SOCKET_KIND), kind)?;
            Ok(SeccompRule::new(vec![condition(0, SeccompCmpOp::Eq, family)?, kind])?)
        });
        rules.insert(libc::SYS_socket, sockets.collect::<anyhow::Result<_>>()?);
        rules.insert(libc::SYS_connect, Vec::new());
    }
    Ok(rules)
}

/// Calls that change which packets a socket lets through: what captures packets
/// would else show all of them.
fn filters_of_sockets() -> anyhow::Result<Vec<SeccompRule>> {
    let level = u64::from(libc::SOL_SOCKET.unsigned_abs());
    let names = [libc::SO_ATTACH_FILTER, libc::SO_DETACH_FILTER, libc::SO_ATTACH_BPF];
    let rules = names.map(|name| {
        let name = condition(2, SeccompCmpOp::Eq, u64::from(name.unsigned_abs()))?;
        Ok(SeccompRule::new(vec![condition(1, SeccompCmpOp::Eq, level)?, name])?)
    });
    rules.into_iter().collect()
}

/// One condition on one argument.
fn rule(argument: u8, operator: SeccompCmpOp, value: u64) -> anyhow::Result<SeccompRule> {
    Ok(SeccompRule::new(vec![condition(argument, operator, value)?])?)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> anyhow::Result<SeccompCondition> {
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?)
}
