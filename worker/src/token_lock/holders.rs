//! Who uses a profile's bots elsewhere, for a command that takes them over: the same files, judged as a worker judges them.

use camino::Utf8PathBuf;
use hermes_config::ProfileConfig;
use hermes_host::refusal::Io;
use hermes_wire::ProfileHome;

use super::record::{self, Judged};
use super::{Identities, called, read};
use crate::platform;

/// A live process that uses one of a profile's bots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// When it started; `None` where its file does not say.
    pub start_time: Option<u64>,
    /// The platform here whose bot it is.
    pub platform: String,
    /// What the bot's identity is called in front of people.
    pub identity: String,
    /// The lock file that says so.
    pub file: Utf8PathBuf,
    /// The gateway that starts another process in its place, where it is one of this program's.
    pub supervisor: Option<u32>,
    /// The home of the profile that it serves, as far as the file says.
    pub home: Option<Utf8PathBuf>,
}

/// Those of a profile's bots that are used elsewhere: not by a worker of this profile below `supervisor`. `inherited` are the variables
/// that say where the files are.
pub fn holders<'a>(
    config: &ProfileConfig,
    home: &ProfileHome,
    inherited: impl Fn(&str) -> Option<&'a str>,
    supervisor: Option<u32>,
) -> Result<Vec<Holder>, Io> {
    let exclusive = platform::exclusive(config);
    let identities = Identities::of(config, home, inherited, supervisor);
    let Some((directory, me)) = identities.directory.zip(identities.me) else { return Ok(Vec::new()) };
    let mut holders = Vec::new();
    for identity in identities.all.iter().filter(|identity| exclusive.contains(&identity.platform)) {
        let file = identity.file(&directory);
        let Some((text, _)) = read(&file).map_err(Io::at("read", &file))? else { continue };
        if let Judged::Used(who) = record::judge(&text, &me) {
            holders.push(Holder {
                pid: who.pid,
                start_time: who.start_time.filter(|time| *time != 0),
                platform: identity.platform.clone(),
                identity: called(&identity.scope),
                file,
                supervisor: who.metadata.supervisor_pid,
                home: who.metadata.home.map(Utf8PathBuf::from),
            });
        }
    }
    Ok(holders)
}
