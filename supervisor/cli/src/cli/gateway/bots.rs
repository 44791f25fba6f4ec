//! Bots of a profile that a gateway elsewhere uses, taken over on request: who uses them, who of those gives way, and that they connect.
//!
//! Who it is say the lock files, by the judgement that workers make, and the process table: only the very process that a file names is
//! ended, and only if nobody would start it again. That is a gateway of the Python program. A worker of a gateway that lives is
//! left alone, and named with the command that has its gateway stop it.

use std::time::Duration;

use hermes_gateway::instance;
use hermes_gateway::predecessor;
use hermes_gateway::program;
use hermes_host::refusal::Io;
use hermes_host::{clock, wait};
use hermes_worker::{Holder, holders};

use super::answer::{Done, Say};
use super::reach;
use crate::error::{CommandError, HermesError};
use crate::home::{self, Selection, Surroundings};
use crate::settings::judge::Part;

/// Time a bot has to connect once it is free: its worker looks every five seconds, and its service may be slow.
const CONNECTS: Duration = Duration::from_secs(30);
/// Time between two looks at it.
const LOOK: Duration = Duration::from_millis(100);

/// Those that are used elsewhere, by processes that may be ended.
#[derive(Debug)]
pub(super) struct Bots(Vec<Holder>);

/// The platforms whose bots were freed, and the processes that had them.
#[derive(Debug, Default)]
pub(super) struct Freed {
    platforms: Vec<String>,
    pids: Vec<String>,
}

impl Bots {
    /// Looks for them; refuses where somebody uses one who is not to be ended.
    pub(super) fn of(selection: &Selection, env: &Surroundings) -> Result<Self, HermesError> {
        let (name, home) = (&selection.profile, selection.home());
        // A start says what is wrong with the files.
        let loaded = Part::of(&selection.root, name, env).look(name, &home);
        let Some(config) = loaded.config else { return Ok(Self(Vec::new())) };
        let gateway = |home| instance::record(home).filter(instance::is_alive).map(|record| record.pid);
        let own = gateway(home.path()).or_else(|| gateway(selection.root.path()));
        let all = holders(&config, &home, |name| env.passed.get(name), own)?;
        all.iter().try_for_each(|holder| gives_way(holder, env))?;
        Ok(Self(all))
    }

    /// Ends those who use them.
    pub(super) fn free(self, say: &mut Say) -> Result<Freed, HermesError> {
        let mut freed = Freed::default();
        for Holder { pid, start_time, platform, identity, .. } in self.0 {
            if instance::lives(pid, start_time) {
                say.progress(&format!(
                    "taking the {identity} over from the gateway that uses it (PID {pid})"
                ));
                predecessor::end_process(pid, start_time).map_err(Io::at("end", format!("process {pid}")))?;
            }
            // One process may have several.
            let pid = pid.to_string();
            if !freed.pids.contains(&pid) {
                freed.pids.push(pid);
            }
            if !freed.platforms.contains(&platform) {
                freed.platforms.push(platform);
            }
        }
        Ok(freed)
    }
}

/// Whether nobody starts it again, and it is for sure the process that its file means.
fn gives_way(holder: &Holder, env: &Surroundings) -> Result<(), CommandError> {
    let stays = |why: String, way: String| CommandError::BotStays {
        bot: holder.identity.clone(),
        pid: holder.pid,
        file: holder.file.clone(),
        why,
        way,
    };
    if let Some(supervisor) = holder.supervisor.filter(|pid| program::parent(holder.pid) == Some(*pid)) {
        let why = |whose: &str| {
            format!("it serves {whose}, and its gateway (PID {supervisor}) would start it again")
        };
        let named = holder.home.clone();
        let named = named.filter(|home| home.is_absolute() && !home.as_str().contains(char::is_control));
        let place = named.and_then(|home| home::meant(Some(home), None, env));
        let Some((root, profile)) = place else {
            let way = format!("stop that profile there, or the whole gateway: kill -TERM {supervisor}");
            return Err(stays(why("a profile that its file does not name"), way));
        };
        let quoted =
            shlex::try_quote(root.path().as_str()).map_or_else(|_| root.path().to_string(), Into::into);
        let way = format!(
            "`HERMES_HOME={quoted} hermes gateway stop -p {profile}` stops it there; then the bot connects here"
        );
        return Err(stays(why(&format!("profile '{profile}' of `{}`", root.path())), way));
    }
    if holder.start_time.is_none() {
        let why = "when it started is not known, so another process could have its number by now".to_owned();
        return Err(stays(why, format!("if it is that gateway, `kill -TERM {}` ends it", holder.pid)));
    }
    Ok(())
}

impl Freed {
    /// Waits until the bots have connected here.
    pub(super) fn connected(
        self,
        done: Done,
        selection: &Selection,
        env: &Surroundings,
        say: &mut Say,
    ) -> Result<Done, HermesError> {
        if self.platforms.is_empty() || !done.is_awaited() {
            return Ok(done);
        }
        let (name, what) = (&selection.profile, self.platforms.join(", "));
        say.progress(&format!("waiting for {what} to connect"));
        let deadline = clock::now() + CONNECTS;
        loop {
            let status = reach::find(selection, env)?.map(|(client, _)| client.status(None)).transpose()?;
            let profile = status.as_ref().and_then(|status| reach::mine(status, name));
            let missing = self.platforms.iter().find_map(|platform| {
                let seen = profile.and_then(|profile| profile.platforms.get(platform));
                (seen.is_none_or(|seen| seen.state != "connected")).then_some((platform, seen))
            });
            let Some((platform, seen)) = missing else { break };
            let is_fatal = seen.is_some_and(|seen| seen.state == "fatal");
            if is_fatal || clock::now() >= deadline {
                let state = seen.map_or("not there", |seen| &seen.state);
                let why = seen.and_then(|seen| seen.error_message.as_deref());
                let why = why.map(|why| format!(": {why}")).unwrap_or_default();
                return Err(HermesError::NotReached {
                    message: format!("{platform} of profile '{name}' is free, and {state}{why}"),
                    hint: format!("`hermes status -p {name}` shows more"),
                });
            }
            wait::pause(LOOK);
        }
        let pids = self.pids.join(", PID ");
        Ok(done.then(&format!("✓ Profile '{name}' has connected {what}, taken over from PID {pids}")))
    }
}
