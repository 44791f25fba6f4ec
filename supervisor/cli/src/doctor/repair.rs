//! Carries out repairs, each checked again at the moment it is done.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};

use super::{Finding, Repair};
use crate::profile::{skeleton, staging};

/// Repairs what carries a remedy, and notes how it went.
pub(crate) fn apply(findings: &mut [Finding]) {
    for finding in findings {
        if let Some(repair) = &finding.repair {
            finding.repaired = Some(carry_out(repair).map_err(|e| e.to_string()));
        }
    }
}

fn carry_out(repair: &Repair) -> io::Result<()> {
    match repair {
        Repair::Mode(path, mode) => {
            let meta = fs_err::symlink_metadata(path)?;
            if meta.is_symlink() {
                return Err(io::Error::other("it became a symbolic link"));
            }
            fs_err::set_permissions(path, std::fs::Permissions::from_mode(*mode))
        }
        Repair::Remove(path) => {
            let kind = fs_err::symlink_metadata(path)?.file_type();
            if !(kind.is_file() || kind.is_socket() || kind.is_symlink()) {
                return Err(io::Error::other("it is not a file any more"));
            }
            fs_err::remove_file(path)
        }
        Repair::SeedEnv(path) => {
            use io::Write as _;
            let mut file =
                hermes_host::disk::create_new(path, std::fs::OpenOptions::new().write(true).mode(0o600))?;
            file.write_all(skeleton::ENV.as_bytes())
        }
        Repair::Sweep(profiles) => {
            staging::sweep(profiles);
            match staging::abandoned(profiles).len() {
                0 => Ok(()),
                _ => Err(io::Error::other("something in them cannot be removed")),
            }
        }
    }
}
