//! What OpenSSH asks beside the draft.

use super::answer::{Status, put_name, put_status};
use super::{MAX_MESSAGE_BYTES, MAX_READ_BYTES, NAMES_AT_ONCE, Sftp, attributes, set};
use crate::service::ssh::wire::{Put as _, Reader};

impl Sftp {
    /// Answers a request by name.
    pub(super) fn extended(
        &mut self,
        id: u32,
        reader: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Status> {
        let name = reader.string().ok_or(Status::BadMessage)?;
        match name {
            b"posix-rename@openssh.com" => self.rename(reader, false)?,
            b"fsync@openssh.com" => {
                self.handle(reader)?;
            }
            b"lsetstat@openssh.com" => {
                let path = self.path(reader)?;
                set(&self.files(), &path, &attributes(reader)?)?;
            }
            b"limits@openssh.com" => {
                out.put_u8(201);
                out.put_u32(id);
                for limit in [MAX_MESSAGE_BYTES, MAX_READ_BYTES, MAX_READ_BYTES, 1_019] {
                    out.put_u64(limit as u64);
                }
                return Ok(());
            }
            b"expand-path@openssh.com" => {
                let path = reader.string().ok_or(Status::BadMessage)?;
                let path = String::from_utf8_lossy(path).into_owned();
                let path = match path.strip_prefix('~') {
                    Some(rest) => format!("{}{rest}", self.home),
                    None => path,
                };
                let path = self.files().canonical(&self.absolute(&path))?;
                put_name(out, id, &path);
                return Ok(());
            }
            b"home-directory" => {
                put_name(out, id, &self.home);
                return Ok(());
            }
            b"statvfs@openssh.com" | b"fstatvfs@openssh.com" => {
                out.put_u8(201);
                out.put_u32(id);
                // Blocks of 4 KiB on a disk of 40 GB, half of it free.
                for value in [4_096, 4_096, 10_255_636, 5_471_031, 4_934_311, 2_621_440, 2_540_122]
                {
                    out.put_u64(value);
                }
                for value in [2_540_122, 0x0a1f_53c2_77d0_e6b1, 0, 255] {
                    out.put_u64(value);
                }
                return Ok(());
            }
            b"users-groups-by-id@openssh.com" => {
                out.put_u8(201);
                out.put_u32(id);
                for _ in 0..2 {
                    let ids = reader.string().ok_or(Status::BadMessage)?;
                    let mut names = Vec::new();
                    for id in ids.chunks_exact(4).take(NAMES_AT_ONCE * 2) {
                        let id = Reader::new(id).u32().unwrap_or(0);
                        let known = self.users.iter().find(|(known, _)| *known == id);
                        names.put_string(known.map_or(b"", |(_, name)| name.as_bytes()));
                    }
                    out.put_string(&names);
                }
                return Ok(());
            }
            b"hardlink@openssh.com" => {
                let (from, to) = (self.path(reader)?, self.path(reader)?);
                self.note("ln", &format!("{from} {to}"));
                self.files().copy(&from, &to)?;
            }
            _ => return Err(Status::Unsupported),
        }
        put_status(out, id, Status::Ok);
        Ok(())
    }
}
