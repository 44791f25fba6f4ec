//! What cannot be looked at, whoever asks.

use camino::Utf8PathBuf;

/// A path that nobody, root included, can list, read or enter: a link to itself, with what was there kept aside.
pub struct Loop {
    place: Utf8PathBuf,
    /// Where what was there is kept.
    pub aside: Utf8PathBuf,
}

impl Loop {
    /// Puts one in the place of what is there.
    pub fn put(place: Utf8PathBuf) -> Self {
        let aside = Utf8PathBuf::from(format!("{place}.aside"));
        fs_err::rename(&place, &aside).unwrap();
        fs_err::os::unix::fs::symlink(&place, &place).unwrap();
        Self { place, aside }
    }

    /// Puts back what was there.
    pub fn remove(self) {
        fs_err::remove_file(&self.place).unwrap();
        fs_err::rename(&self.aside, &self.place).unwrap();
    }
}
