//! File systems of a test's own: a small disk that fills up, and one that never answers. Both need a machine that lets this user
//! mount; see [`crate::tools::permitted`].

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A disk of a few megabytes at a place that exists. Gone on drop.
pub struct Disk {
    place: Utf8PathBuf,
}

impl Disk {
    /// Mounts an empty one.
    pub fn mount(place: &Utf8Path, megabytes: u32) -> io::Result<Self> {
        let options = std::ffi::CString::new(format!("size={megabytes}m,mode=0700")).unwrap();
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("tmpfs", place.as_std_path(), "tmpfs", flags, options.as_c_str())?;
        Ok(Self { place: place.to_owned() })
    }

    fn filler(&self) -> Utf8PathBuf {
        self.place.join(".filler")
    }

    /// Takes all the room there is.
    pub fn fill(&self) {
        let mut file = fs_err::OpenOptions::new().create(true).append(true).open(self.filler()).unwrap();
        for piece in [1 << 16, 1 << 12, 1] {
            let piece = vec![b'x'; piece];
            while file.write_all(&piece).is_ok() {}
        }
    }

    /// Gives it back.
    pub fn free(&self) {
        fs_err::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = unmount(self.place.as_std_path(), UnmountFlags::DETACH);
    }
}

/// A file system that nobody serves: whoever looks at it waits for ever, or until it is dropped.
pub struct Hanging {
    place: Utf8PathBuf,
    device: Option<File>,
}

impl Hanging {
    /// Puts one over a directory that exists.
    pub fn mount(place: &Utf8Path) -> io::Result<Self> {
        let device = File::options().read(true).write(true).open("/dev/fuse")?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let options = std::ffi::CString::new(options).unwrap();
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("hanging", place.as_std_path(), "fuse", flags, options.as_c_str())?;
        Ok(Self { place: place.to_owned(), device: Some(device) })
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        // Whoever waits gets an error, and then sees again what was there before.
        drop(self.device.take());
        let _ = unmount(self.place.as_std_path(), UnmountFlags::DETACH);
    }
}
