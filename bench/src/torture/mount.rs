//! The disk of [`super::disk`] as a mounted file system, through FUSE. Writes
//! reach the disk as the kernel takes them (no write-back cache), so what the
//! process has synced is what the disk calls durable.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request,
    Session, TimeOrNow, WriteFlags,
};

use super::disk::{Disk, Failure, Kind, PAGE};

/// Nobody but the kernel changes anything, so it may remember.
const TTL: Duration = Duration::from_secs(60);
/// Bytes that the disk says it has.
const CAPACITY: u64 = 64 << 30;
/// More than ever write at the same time, so that reading never waits for writing.
const THREADS: usize = 8;
const TYPE_BITS: u32 = 0o170_000;
const TYPE_SOCKET: u32 = 0o140_000;
const TYPE_FILE: u32 = 0o100_000;

/// A disk, shared between the mount and who cuts the power.
pub(super) type SharedDisk = Arc<Mutex<Disk>>;

/// Locks it.
pub(super) fn lock(disk: &SharedDisk) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a write and a sync take; not at all at first.
#[derive(Default)]
pub(super) struct Pace {
    millis: Mutex<u64>,
    changed: Condvar,
}

impl Pace {
    /// From now on; what waits already waits as long as that in all.
    pub(super) fn set(&self, millis: u64) {
        *self.millis.lock().unwrap_or_else(PoisonError::into_inner) = millis;
        self.changed.notify_all();
    }

    /// What a slow disk does before it has written.
    fn take_time(&self) {
        let began = Instant::now();
        let mut millis = self.millis.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = Duration::from_millis(*millis).saturating_sub(began.elapsed());
            if left.is_zero() {
                return;
            }
            let woken = self.changed.wait_timeout(millis, left);
            millis = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A mounted disk; unmounted when dropped.
pub(super) struct Mounted(Option<BackgroundSession>);

impl Mounted {
    pub(super) fn new(disk: &SharedDisk, at: &Path) -> anyhow::Result<Self> {
        Self::slow(disk, at, Arc::default())
    }

    /// One where each write and each sync takes as long as the pace says.
    pub(super) fn slow(disk: &SharedDisk, at: &Path, pace: Arc<Pace>) -> anyhow::Result<Self> {
        let mut config = fuser::Config::default();
        config.mount_options = vec![MountOption::FSName("powercut".into())];
        config.n_threads = Some(THREADS);
        let fuse = Fuse { disk: Arc::clone(disk), pace };
        let session = Session::new(fuse, at, &config)?;
        Ok(Self(Some(session.spawn()?)))
    }

    pub(super) fn unmount(mut self) -> anyhow::Result<()> {
        let Some(session) = self.0.take() else { return Ok(()) };
        match session.umount_and_join() {
            // How the session's threads learn of the end differs from time to time.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => Ok(()),
            ended => Ok(ended?),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(session) = self.0.take() {
            // Nothing to be done about it here; the next mount says what is wrong.
            let _ = session.umount_and_join();
        }
    }
}

struct Fuse {
    disk: SharedDisk,
    pace: Arc<Pace>,
}

impl From<Failure> for Errno {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Off => Self::EIO,
            Failure::Missing => Self::ENOENT,
            Failure::Exists => Self::EEXIST,
            Failure::NotDirectory => Self::ENOTDIR,
            Failure::IsDirectory => Self::EISDIR,
            Failure::NotEmpty => Self::ENOTEMPTY,
        }
    }
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Socket => FileType::Socket,
    }
}

fn attr(disk: &Disk, number: u64) -> Result<FileAttr, Failure> {
    let facts = disk.facts(number)?;
    Ok(FileAttr {
        ino: INodeNo(number),
        size: facts.size,
        blocks: facts.size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: file_type(facts.kind),
        perm: facts.mode,
        nlink: facts.links,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        rdev: 0,
        blksize: PAGE as u32,
        flags: 0,
    })
}

impl Fuse {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.disk)
    }

    fn made(
        &self,
        parent: INodeNo,
        name: &OsStr,
        kind: Kind,
        mode: u32,
    ) -> Result<FileAttr, Failure> {
        let mut disk = self.disk();
        let number = disk.make(parent.0, name, kind, (mode & 0o7777) as u16)?;
        attr(&disk, number)
    }

    fn removed(&self, parent: INodeNo, name: &OsStr, kind: Kind, reply: ReplyEmpty) {
        done(self.disk().remove(parent.0, name, kind), reply);
    }
}

fn done(result: Result<(), Failure>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(failure) => reply.error(failure.into()),
    }
}

fn entry(result: Result<FileAttr, Failure>, reply: ReplyEntry) {
    match result {
        Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
        Err(failure) => reply.error(failure.into()),
    }
}

#[allow(clippy::too_many_arguments, reason = "the trait's")]
impl Filesystem for Fuse {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let disk = self.disk();
        entry(disk.lookup(parent.0, name).and_then(|number| attr(&disk, number)), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match attr(&self.disk(), ino.0) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(failure) => reply.error(failure.into()),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<std::time::SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<std::time::SystemTime>,
        _chgtime: Option<std::time::SystemTime>,
        _bkuptime: Option<std::time::SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut disk = self.disk();
        let set = |disk: &mut Disk| {
            if let Some(size) = size {
                disk.resize(ino.0, size)?;
            }
            if let Some(mode) = mode {
                disk.set_mode(ino.0, (mode & 0o7777) as u16)?;
            }
            attr(disk, ino.0)
        };
        match set(&mut disk) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(failure) => reply.error(failure.into()),
        }
    }

    fn mknod(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        match mode & TYPE_BITS {
            TYPE_SOCKET => entry(self.made(parent, name, Kind::Socket, mode & !umask), reply),
            TYPE_FILE => entry(self.made(parent, name, Kind::File, mode & !umask), reply),
            _ => reply.error(Errno::EPERM),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        entry(self.made(parent, name, Kind::Directory, mode & !umask), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.removed(parent, name, Kind::File, reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.removed(parent, name, Kind::Directory, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if flags.contains(RenameFlags::RENAME_EXCHANGE) {
            return reply.error(Errno::EINVAL);
        }
        let mut disk = self.disk();
        if flags.contains(RenameFlags::RENAME_NOREPLACE)
            && disk.lookup(newparent.0, newname).is_ok()
        {
            return reply.error(Errno::EEXIST);
        }
        done(disk.rename((parent.0, name), (newparent.0, newname)), reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.made(parent, name, Kind::File, mode & !umask) {
            Ok(attr) => {
                reply.created(&TTL, &attr, Generation(0), FileHandle(0), FopenFlags::empty());
            }
            Err(failure) => reply.error(failure.into()),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.disk().read(ino.0, offset, u64::from(size)) {
            Ok(data) => reply.data(&data),
            Err(failure) => reply.error(failure.into()),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.pace.take_time();
        match self.disk().write(ino.0, offset, data) {
            Ok(()) => reply.written(data.len() as u32),
            Err(failure) => reply.error(failure.into()),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.pace.take_time();
        done(self.disk().sync(ino.0), reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.pace.take_time();
        done(self.disk().sync(ino.0), reply);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let mut names = match self.disk().list(ino.0) {
            Ok(names) => names,
            Err(failure) => return reply.error(failure.into()),
        };
        // The place in a listing is the node's number, so that it stays good
        // while names are removed.
        names.sort_by_key(|(_, number, _)| *number);
        let dots =
            [(1, "."), (2, "..")].map(|(at, name)| (at, name.into(), ino.0, Kind::Directory));
        let children =
            names.into_iter().map(|(name, number, kind)| (number + 2, name, number, kind));
        for (at, name, number, kind) in dots.into_iter().chain(children) {
            if at > offset && reply.add(INodeNo(number), at, file_type(kind), &name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let blocks = CAPACITY / PAGE;
        let free = blocks.saturating_sub(self.disk().bytes() / PAGE);
        reply.statfs(blocks, free, free, 1 << 20, 1 << 20, PAGE as u32, 255, PAGE as u32);
    }
}
