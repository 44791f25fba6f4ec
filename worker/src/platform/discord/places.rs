//! What is known of servers and channels: a few of them, as the gateway names them, and asked for where it did not.

use std::collections::{BTreeMap, VecDeque};

use super::wire::{Channel, Guild, Id};

/// Most channels and most servers that are known.
const MOST: usize = 512;
/// Longest name that is kept, in characters.
const NAME: usize = 100;

/// What is known of one channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Known {
    pub(super) kind: u8,
    pub(super) name: String,
    pub(super) guild: Option<Id>,
    pub(super) parent: Option<Id>,
    pub(super) owner: Option<Id>,
    /// The bot takes part, of a thread.
    pub(super) is_member: bool,
}

impl From<&Channel> for Known {
    fn from(channel: &Channel) -> Self {
        Self {
            kind: channel.kind,
            name: short(channel.name.as_deref().unwrap_or_default()),
            guild: channel.guild_id,
            parent: channel.parent_id,
            owner: channel.owner_id,
            is_member: channel.member.is_some(),
        }
    }
}

fn short(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(NAME).collect()
}

/// Things by their ids; the oldest gives way to the newest.
#[derive(Debug)]
struct Shelf<T> {
    all: BTreeMap<Id, T>,
    order: VecDeque<Id>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), order: VecDeque::new() }
    }
}

impl<T> Shelf<T> {
    fn put(&mut self, id: Id, thing: T) {
        if self.all.insert(id, thing).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
    }

    fn remove(&mut self, id: Id) {
        if self.all.remove(&id).is_some() {
            self.order.retain(|other| *other != id);
        }
    }
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Places {
    channels: Shelf<Known>,
    guilds: Shelf<String>,
}

impl Places {
    /// A server is there.
    pub(super) fn guild(&mut self, guild: &Guild) {
        self.guilds.put(guild.id, short(&guild.name));
        for channel in guild.channels.iter().chain(&guild.threads).take(MOST) {
            self.channels.put(channel.id, Known { guild: Some(guild.id), ..Known::from(channel) });
        }
    }

    /// A channel is there, or is another one now.
    pub(super) fn channel(&mut self, channel: &Channel) {
        let mut known = Known::from(channel);
        if let Some(before) = self.channels.all.get(&channel.id) {
            // An update does not say it again.
            known.is_member |= before.is_member;
        }
        self.channels.put(channel.id, known);
    }

    /// It is not there any more.
    pub(super) fn gone(&mut self, id: Id) {
        self.channels.remove(id);
    }

    pub(super) fn of(&self, id: Id) -> Option<&Known> {
        self.channels.all.get(&id)
    }

    pub(super) fn guild_name(&self, id: Id) -> Option<&str> {
        self.guilds.all.get(&id).map(String::as_str)
    }

    pub(super) fn name_guild(&mut self, id: Id, name: &str) {
        self.guilds.put(id, short(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_does_not_grow() {
        let mut places = Places::default();
        for n in 1..=2000 {
            places.channel(&Channel { id: Id(n), name: Some("x".repeat(300)), ..Channel::default() });
            places.name_guild(Id(n), "g");
        }
        assert_eq!((places.channels.all.len(), places.channels.order.len()), (MOST, MOST));
        assert!(places.of(Id(1)).is_none() && places.guild_name(Id(2000)).is_some());
        assert_eq!(places.of(Id(2000)).unwrap().name.len(), NAME);
        places.gone(Id(2000));
        assert_eq!((places.of(Id(2000)), places.channels.order.len()), (None, MOST - 1));
    }
}
