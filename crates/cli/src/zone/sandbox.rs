//! How a process gives up everything it does not need, before it has a second
//! thread: rights of root, files, new connections, new programs. There is no
//! way back.
//!
//! Two walls that do not depend on each other: landlock, as far as the kernel
//! has it, and a filter of system calls, without which nothing starts. Either
//! alone keeps files and programs away.

use std::fs;

use anyhow::{Context as _, bail};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, LandlockStatus, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, Scope,
};
use palisade_honeypot::zone_stream::Confinement;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::syscalls;

/// Bits of the capability sets that a kernel may know; it refuses the others.
const CAPABILITIES: u32 = 64;
/// The rights of landlock that are asked for; older kernels have fewer.
const WANTED: ABI = ABI::V6;

/// Who to become where the process was started by root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    uid: Uid,
    gid: Gid,
}

impl User {
    /// Finds a name of `/etc/passwd`, or takes a number for both user and group.
    ///
    /// # Errors
    /// There is no such user, or it is root.
    pub(crate) fn find(name: &str) -> anyhow::Result<Self> {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let user = Self::parse(&passwd, name)
            .with_context(|| format!("there is no user '{name}'; set [honeypot] user"))?;
        if user.uid.is_root() || user.gid.as_raw() == 0 {
            bail!("[honeypot] user is root, which has all rights; choose another");
        }
        Ok(user)
    }

    fn parse(passwd: &str, name: &str) -> Option<Self> {
        if let Ok(number) = name.parse() {
            return Some(Self { uid: Uid::from_raw(number), gid: Gid::from_raw(number) });
        }
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == name).then_some(())?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            Some(Self { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid) })
        })
    }
}

/// Whether a process may reach others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Only those that come to it.
    Inward,
    /// It may connect to others, and nobody comes to it: the fetcher.
    Outward,
}

/// Locks the process in, for good. Must be called before there is a thread:
/// what a thread was before is what it stays.
///
/// # Errors
/// The process is not locked in and must end.
pub(crate) fn enter(user: &str, reach: Reach) -> anyhow::Result<Confinement> {
    if let Ok(threads) = fs::read_dir("/proc/self/task")
        && threads.count() != 1
    {
        bail!("there are threads already, which would keep their rights");
    }
    let mut missing = Vec::new();
    give_up_rights(user, &mut missing)?;
    let landlock = restrict(reach, &mut missing).context("landlock")?;
    syscalls::filter(reach).context(
        "this kernel cannot filter system calls; [honeypot] process = \"same\" runs the honeypots unconfined, and [honeypot.fetch] enabled = false fetches nothing",
    )?;
    Ok(Confinement { uid: rustix::process::geteuid().as_raw(), landlock, seccomp: true, missing })
}

/// Becomes `user` where it is root, and gives up every capability either way.
fn give_up_rights(user: &str, missing: &mut Vec<String>) -> anyhow::Result<()> {
    use rustix::thread as own;
    if rustix::process::geteuid().is_root() {
        let user = User::find(user)?;
        for bit in 0..CAPABILITIES {
            let capability = CapabilitySet::from_bits_retain(1 << bit);
            // Fails for those the kernel does not know, and without CAP_SETPCAP;
            // a program that could use the rest cannot be started anyway.
            let _ = own::remove_capability_from_bounding_set(capability);
        }
        match become_user(user) {
            Ok(()) => {}
            // A user namespace with root alone, as of `unshare --map-root-user`.
            Err(Errno::INVAL) => missing.push(
                "there are no other users in this namespace, so it stays root, without capabilities"
                    .to_owned(),
            ),
            Err(error) => return Err(error).context("cannot stop being root"),
        }
    }
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    own::set_capabilities(None, none).context("cannot give up capabilities")?;
    // Where the kernel has no such set there is nothing in it.
    let _ = own::clear_ambient_capability_set();
    own::set_no_new_privs(true).context("cannot rule out new privileges")?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("cannot rule out core dumps")?;
    Ok(())
}

/// All three ids of each, so that there is none to go back to.
fn become_user(User { uid, gid }: User) -> Result<(), Errno> {
    use rustix::thread as own;
    // The user last: with it goes the right to change the others. Tried first
    // with the group, which tells whether the namespace has such users at all.
    own::set_thread_res_gid(gid, gid, gid)?;
    own::set_thread_groups(&[])?;
    own::set_thread_res_uid(uid, uid, uid)
}

/// No file, no connection to others (but from the fetcher), no new port, no
/// signal to others, as far as the kernel's landlock goes; says what it has no
/// rule for.
fn restrict(reach: Reach, missing: &mut Vec<String>) -> anyhow::Result<u32> {
    let net = match reach {
        Reach::Inward => AccessNet::from_all(WANTED),
        Reach::Outward => AccessNet::BindTcp.into(),
    };
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(WANTED))?
        .handle_access(net)?
        .scope(Scope::from_all(WANTED))?
        .create()?
        .no_new_privs(true)
        .restrict_self()?;
    let abi = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi as u32,
        LandlockStatus::NotEnabled => {
            missing
                .push("landlock is switched off on this machine (lsm= of the kernel)".to_owned());
            0
        }
        LandlockStatus::NotImplemented => {
            missing.push("this kernel has no landlock (Linux 5.13 and newer have it)".to_owned());
            0
        }
    };
    let rules = [
        (4, "landlock has no rules for TCP here (Linux 6.7)"),
        (6, "landlock has no rules for signals and abstract sockets here (Linux 6.12)"),
    ];
    if abi > 0 {
        let absent = rules.iter().filter(|(since, _)| abi < *since);
        missing.extend(
            absent.map(|(_, what)| format!("{what}; the filter of system calls alone does that")),
        );
    }
    Ok(abi)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_or_number_and_is_not_root() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbroken\nnobody:x:65534:65533:n:/:/none\n";
        let user = User::parse(passwd, "nobody").unwrap();
        assert_eq!((user.uid.as_raw(), user.gid.as_raw()), (65_534, 65_533));
        assert_eq!(User::parse(passwd, "1007").unwrap().gid.as_raw(), 1_007);
        assert_eq!(User::parse(passwd, "nobod"), None);
        assert!(User::find("root").is_err() && User::find("0").is_err());
        assert!(
            User::find("no-such-user-here").unwrap_err().to_string().contains("[honeypot] user")
        );
    }
}
