//! Notes what the files said when this profile was well: `logs/healthy.json` ([`hermes_wire::contract::healthy`]).
//!
//! Once in the life of a process, when it has served for a moment and is able to do all that is asked of it. It is the files as this
//! process has read them that are noted, not those of that moment. Nobody waits for it, and where it cannot be written, nothing is lost but a
//! comparison: that is one line in the log.

use std::io;

use camino::Utf8Path;
use hermes_config::fingerprint;
use hermes_host::{blocking, disk};
use hermes_wire::ProfileHome;
use hermes_wire::absence::OrAbsent as _;
use hermes_wire::contract::healthy::{Healthy, KEY_LEN, SCHEMA};
use tokio::task::JoinSet;
use tracing::warn;
use zeroize::Zeroizing;

use crate::clock;
use crate::load::Read;

/// Notes it, on a thread that may be held up. `tasks` is who owns that.
pub(super) fn note(tasks: &mut JoinSet<()>, home: &ProfileHome, read: Read) {
    let home = home.clone();
    tasks.spawn(async move {
        match blocking::run(move || write(&home, &read)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "what the files say now that all is well cannot be noted"),
            Err(error) => warn!(%error, "what the files say now that all is well was not noted"),
        }
    });
}

fn write(home: &ProfileHome, read: &Read) -> io::Result<()> {
    let key = key(&home.healthy_key())?;
    let config = fingerprint::of_config(&key, &read.yaml).map_err(io::Error::other)?;
    let noted = Healthy {
        schema: SCHEMA,
        at: clock::now(),
        release: env!("CARGO_PKG_VERSION").to_owned(),
        config,
        env: fingerprint::of_env(&key, &read.env),
    };
    let text = serde_json::to_vec(&noted).expect("strings always serialise");
    disk::write_atomic(&home.healthy(), &text, false)
}

/// The home's own key, made where there is none yet, or where it is none.
fn key(path: &Utf8Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let known = disk::read_own(path, KEY_LEN + 1).or_absent()?.map(Zeroizing::new);
    if let Some(key) = known.filter(|key| key.len() == KEY_LEN) {
        return Ok(key);
    }
    let mut key = Zeroizing::new(vec![0; KEY_LEN]);
    io::Read::read_exact(&mut fs_err::File::open("/dev/urandom")?, &mut key)?;
    disk::write_atomic(path, &key, false)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_stays_and_no_value_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(Utf8Path::from_path(dir.path()).unwrap());
        fs_err::create_dir(home.logs()).unwrap();
        let read = || Read {
            yaml: Zeroizing::new(b"model: {default: some-model}".to_vec()),
            env: Zeroizing::new(b"KEY=some-secret".to_vec()),
        };
        write(&home, &read()).unwrap();
        let (key, first) =
            (fs_err::read(home.healthy_key()).unwrap(), fs_err::read_to_string(home.healthy()).unwrap());
        write(&home, &read()).unwrap();
        assert_eq!(fs_err::read(home.healthy_key()).unwrap(), key);
        let of = |text: &str| serde_json::from_str::<Healthy>(text).unwrap();
        let second = of(&fs_err::read_to_string(home.healthy()).unwrap());
        assert_eq!((of(&first).config, of(&first).env), (second.config, second.env));
        assert!(first.contains("model.default") && !first.contains("some-"), "{first}");
        for path in [home.healthy(), home.healthy_key()] {
            assert_eq!(fs_err::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
