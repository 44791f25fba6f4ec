//! Reads [`profile_routes`](super::profile_routes): every entry becomes a rule, or is named.

use super::problem::Place;
use super::profile_routes::{ProfileRoute, ProfileRoutes};
use super::reader::{At, Reader};
use hermes_wire::ProfileName;
use hermes_wire::latest::Severity;

/// `code` of what is said about entries.
pub(super) const CODE: &str = "profile_route";
/// Most rules. Each costs a comparison for every message.
const MOST: usize = 1000;

/// Where the rules stand: the top level wins where something is there.
fn place(root: &At) -> At {
    root.key("profile_routes").or(root.key("gateway.profile_routes"))
}

/// The rules of the default profile's file. With multiplexing off they are read, so that what is wrong is said, and not used.
pub(super) fn read(reader: &mut Reader<'_>, root: &At, multiplex: bool) -> ProfileRoutes {
    let at = place(root);
    if !at.is_set() {
        return ProfileRoutes::default();
    }
    if !at.is_seq() {
        let message = format!("`{}` is not a list: no message is given to another profile by it", at.path);
        let fix = Some("Write a list of rules, each with `platform` and `profile`.".to_owned());
        reader.problems.add(Severity::Platform, CODE, reader.place(&at), message, fix);
        return ProfileRoutes::default();
    }
    let items = at.items();
    if items.len() > MOST {
        let message = format!("`{}` has more than {MOST} rules: those behind are not used", at.path);
        reader.problems.add(Severity::Platform, CODE, reader.place(&at), message, None);
    }
    let routes: Vec<_> = items.iter().take(MOST).filter_map(|item| route(reader, item)).collect();
    if !multiplex && !routes.is_empty() {
        let message = format!("`{}` is ignored: `gateway.multiplex_profiles` is off", at.path);
        reader.warn("ignored_key", reader.place(&at), message, "Turn it on, or remove the rules.");
        return ProfileRoutes::default();
    }
    routes.into_iter().collect()
}

/// Warns of rules in a file that decides none. Releases from 0.20 on write an empty list into every file.
pub(super) fn warn_ignored(reader: &mut Reader<'_>, root: &At) {
    let at = place(root);
    if at.is_set() && !(at.is_seq() && at.items().is_empty()) {
        let message = format!("`{}` is ignored: the default profile's config.yaml decides it", at.path);
        reader.warn("ignored_key", reader.place(&at), message, "Remove it here.");
    }
}

/// One entry; `None`: it is no rule, which is said, or it is turned off.
fn route(reader: &mut Reader<'_>, at: &At) -> Option<ProfileRoute> {
    if !at.is_map() {
        skip(reader, at, &at.path, "not a mapping of keys to values");
        return None;
    }
    if reader.flag(&at.key("enabled")) == Some(false) {
        return None;
    }
    let name = scalar(reader, &at.key("name")).unwrap_or_default().unwrap_or_else(|| at.path.clone());
    let (platform, profile) = (scalar(reader, &at.key("platform")), scalar(reader, &at.key("profile")));
    let (Ok(Some(platform)), Ok(Some(profile))) = (platform, profile) else {
        skip(reader, at, &name, "missing platform or profile");
        return None;
    };
    let target = at.key("profile");
    let Ok(profile) = ProfileName::from_user_input(&profile) else {
        let shown: String = profile.chars().take(80).collect();
        skip(reader, &target, &name, &format!("invalid profile name '{shown}'"));
        return None;
    };
    // Another bot than the default profile's hands nothing over: its own worker keeps what it receives.
    let bot = at.key("bot_profile");
    match scalar(reader, &bot) {
        Ok(None) => {}
        Ok(Some(bot)) if ProfileName::from_user_input(&bot).is_ok_and(|name| name.is_default()) => {}
        // What comes to its own bot it answers without a rule.
        Ok(Some(bot)) if ProfileName::from_user_input(&bot).is_ok_and(|name| name == profile) => return None,
        Ok(Some(_)) => {
            skip(reader, &bot, &name, "it is for another profile's bot, which keeps what it receives");
            return None;
        }
        Err(()) => {
            skip(reader, &bot, &name, "bot_profile is not a name");
            return None;
        }
    }
    let mut ids = [const { None }; 4];
    for (key, id) in ["user_id", "thread_id", "chat_id", "guild_id"].into_iter().zip(&mut ids) {
        let part = at.key(key);
        match scalar(reader, &part) {
            // A rule about one person that names nobody is not a rule about everybody.
            Ok(None) if key == "user_id" && part.is_written() => {
                skip(reader, &part, &name, "user_id names nobody");
                return None;
            }
            Ok(None) if part.is_written() => {
                let message = format!(
                    "profile route {name}: `{}` is empty, so the rule does not ask for it",
                    part.path
                );
                reader.warn(CODE, reader.place(&part), message, "Write an id, or remove the key.");
            }
            Ok(found) => *id = found,
            Err(()) => {
                skip(reader, &part, &name, &format!("{key} is not an id"));
                return None;
            }
        }
    }
    let Place { file, line, column, key } = reader.place(&target);
    let [user_id, thread_id, chat_id, guild_id] = ids;
    let place = (file, key, line, column);
    Some(ProfileRoute { name, platform, profile, user_id, thread_id, chat_id, guild_id, place })
}

/// Text; a number is taken as it is written. An error where something else is there.
fn scalar(reader: &mut Reader<'_>, at: &At) -> Result<Option<String>, ()> {
    if at.is_map() || at.is_seq() {
        return Err(());
    }
    Ok(reader.text(at))
}

fn skip(reader: &mut Reader<'_>, at: &At, name: &str, why: &str) {
    let message = format!("Skipping profile route {name}: {why}");
    reader.warn(CODE, reader.place(at), message, "Correct the rule, or remove it.");
}
