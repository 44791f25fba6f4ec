//! The account, as connection and way out share it: who it is logged in as, and what its rooms are like.
//!
//! A token that the homeserver has refused is not shown to it again: whoever hears of
//! the refusal first says so here, and the other one stops as well.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use camino::Utf8PathBuf;
use hermes_config::Secret;
use hermes_config::network::Network;
use hermes_host::{blocking, disk};
use hermes_wire::ProfileHome;
use hermes_wire::absence::OrAbsent as _;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{OnceCell, watch};

use super::discovery;
use super::service::{Ask, Failure, Service, Who};
use super::settings::{Homeserver, NAME, Settings};
use super::wire::{self, Refusal, WireError};

/// Most rooms, threads and signs that are known at once; what is forgotten is asked for again.
const KNOWN: usize = 512;
/// Longest file that says who is logged in, in bytes.
const FILE: usize = 64 * 1024;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a room is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Room {
    /// How many are in it.
    pub(super) people: usize,
    pub(super) is_encrypted: bool,
    pub(super) name: Option<String>,
}

/// Who is logged in, as the profile's home has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    homeserver: String,
    user_id: String,
    #[serde(default)]
    device_id: Option<String>,
    /// Of a login with a password; the token of the settings stands where they do.
    #[serde(default)]
    access_token: Option<String>,
}

/// Whether somebody is logged in.
#[derive(Debug, Clone)]
enum Session {
    /// Nobody has tried yet.
    Unknown,
    /// With this token.
    In(Secret),
    /// The homeserver has refused the token.
    Refused(Refusal),
}

/// What is known for a while, the oldest of it first.
#[derive(Debug)]
struct Known<T> {
    all: BTreeMap<String, T>,
    order: VecDeque<String>,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), order: VecDeque::new() }
    }
}

impl<T: Clone> Known<T> {
    fn get(&self, key: &str) -> Option<T> {
        self.all.get(key).cloned()
    }

    fn put(&mut self, key: &str, value: T) {
        if self.all.insert(key.to_owned(), value).is_none() {
            self.order.push_back(key.to_owned());
            if self.order.len() > KNOWN
                && let Some(oldest) = self.order.pop_front()
            {
                self.all.remove(&oldest);
            }
        }
    }

    fn take(&mut self, key: &str) -> Option<T> {
        self.order.retain(|known| known != key);
        self.all.remove(key)
    }
}

/// See the module.
pub(super) struct Account {
    pub(super) settings: Settings,
    network: Network,
    home: OnceLock<ProfileHome>,
    /// Made when it is first needed, and found where it is.
    service: OnceCell<Service>,
    session: Mutex<Session>,
    me: OnceLock<Who>,
    /// The device is another one than that of the last login: the homeserver knows no key of before.
    is_other_device: OnceLock<()>,
    refusals: watch::Sender<u64>,
    rooms: Mutex<Known<Room>>,
    direct: Mutex<BTreeSet<String>>,
    threads: Mutex<Known<()>>,
    signs: Mutex<Known<String>>,
    typed: Mutex<Known<()>>,
    /// How often the servers of a room did not answer.
    out_of_reach: Mutex<Known<u32>>,
}

impl Account {
    pub(super) fn new(settings: &Settings, network: Network) -> Self {
        Self {
            settings: settings.clone(),
            network,
            home: OnceLock::new(),
            service: OnceCell::new(),
            session: Mutex::new(Session::Unknown),
            me: OnceLock::new(),
            is_other_device: OnceLock::new(),
            refusals: watch::Sender::new(0),
            rooms: Mutex::default(),
            direct: Mutex::default(),
            threads: Mutex::default(),
            signs: Mutex::default(),
            typed: Mutex::default(),
            out_of_reach: Mutex::default(),
        }
    }

    /// Where it is kept who is logged in.
    pub(super) fn lives_in(&self, home: &ProfileHome) {
        let _ = self.home.set(home.clone());
    }

    pub(super) async fn service(&self) -> Result<&Service, Failure> {
        self.service.get_or_try_init(|| discovery::service(&self.settings, &self.network)).await
    }

    /// Who it is, once that is known.
    pub(super) fn me(&self) -> Option<&Who> {
        self.me.get()
    }

    /// Whether messages of before were sent by another device, whose keys say nothing here.
    pub(super) fn is_other_device(&self) -> bool {
        self.is_other_device.get().is_some()
    }

    /// Where it is, once that is known.
    pub(super) fn base(&self) -> Option<&Url> {
        match &self.settings.homeserver {
            Homeserver::At(base) => Some(base),
            Homeserver::Of(_) => self.service.get().map(Service::base),
        }
    }

    /// The same, as claims name it.
    pub(super) fn homeserver(&self) -> String {
        self.base().map(|base| base.as_str().trim_end_matches('/').to_owned()).unwrap_or_default()
    }

    fn file(&self) -> Option<Utf8PathBuf> {
        self.home.get().map(|home| home.path().join("platforms/matrix/session.json"))
    }

    /// Who was logged in last, here and as this account.
    fn kept(&self) -> Kept {
        let Some(file) = self.file() else { return Kept::default() };
        let kept = match disk::read_bounded(&file, FILE).or_absent() {
            Ok(bytes) => bytes.and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok()),
            Err(error) => {
                tracing::warn!("[{NAME}] `{file}` cannot be read, so it counts for nothing: {error}");
                None
            }
        };
        let wanted = self.settings.user_id.as_deref();
        let is_ours = |kept: &Kept| {
            kept.homeserver == self.homeserver()
                && wanted.is_none_or(|user| user.eq_ignore_ascii_case(&kept.user_id))
        };
        kept.filter(is_ours).unwrap_or_default()
    }

    /// The token of now: of the settings, or of a login that is kept.
    fn token(&self) -> Result<Secret, Failure> {
        let mut session = lock(&self.session);
        match &*session {
            Session::In(token) => return Ok(token.clone()),
            Session::Refused(refusal) => {
                return Err(Failure::LoggedOut(format!(
                    "the account is logged out: the homeserver has refused its token ({})",
                    refusal.code
                )));
            }
            Session::Unknown => {}
        }
        let token = match &self.settings.token {
            Some(token) => Some(token.clone()),
            None => self.kept().access_token.map(Secret::new),
        };
        let token = token.ok_or_else(|| Failure::LoggedOut("nobody has logged in yet".to_owned()))?;
        *session = Session::In(token.clone());
        Ok(token)
    }

    /// Notes what a failed request says of the token that it was made with.
    fn heard(&self, token: &Secret, failure: &Failure) {
        let Some(refusal) = failure.refusal().filter(|refusal| refusal.is_of_token()) else { return };
        let mut session = lock(&self.session);
        if matches!(&*session, Session::In(now) if now.expose() == token.expose()) {
            *session = Session::Refused(refusal.clone());
            drop(session);
            self.refusals.send_modify(|count| *count += 1);
        }
    }

    /// Waits until the token is refused, by whatever request; how. Cancel safe.
    pub(super) async fn refused(&self) -> Refusal {
        let mut heard = self.refusals.subscribe();
        loop {
            if let Some(refusal) = self.is_refused() {
                return refusal;
            }
            // The sender lives as long as this.
            let _ = heard.changed().await;
        }
    }

    /// How the token was refused, if it was.
    pub(super) fn is_refused(&self) -> Option<Refusal> {
        match &*lock(&self.session) {
            Session::Refused(refusal) => Some(refusal.clone()),
            Session::In(_) | Session::Unknown => None,
        }
    }

    /// Logs in, if that has to be: with the token of the settings, with one that is kept, or with the password.
    pub(super) async fn enter(&self) -> Result<Who, Failure> {
        let service = self.service().await?;
        let refused = self.is_refused();
        if refused.is_none()
            && let Ok(token) = self.token()
        {
            let found = service.whoami(&token).await;
            let Err(failure) = found else { return found.inspect(|who| self.is(who)) };
            self.heard(&token, &failure);
            if !failure.refusal().is_some_and(Refusal::is_of_token) || self.settings.password.is_none() {
                return Err(failure);
            }
            // What was kept is no longer good, and there is another way in.
        } else if let Some(refusal) = refused.filter(|refusal| !self.may_log_in(refusal)) {
            return Err(Failure::Refused { what: "whoami", refusal });
        }
        self.log_in(service).await
    }

    /// Whether a refused token is made up for by a password.
    pub(super) fn may_log_in(&self, refusal: &Refusal) -> bool {
        refusal.soft_logout
            && refusal.code == "M_UNKNOWN_TOKEN"
            && self.settings.password.is_some()
            && self.settings.user_id.is_some()
    }

    async fn log_in(&self, service: &Service) -> Result<Who, Failure> {
        let (Some(user), Some(password)) = (&self.settings.user_id, &self.settings.password) else {
            return Err(Failure::LoggedOut("there is no password to log in with".to_owned()));
        };
        let kept = self.kept();
        let device = self.settings.device_id.clone().or_else(|| kept.device_id.clone());
        let (who, token) = service.login(user, password, device.as_deref()).await?;
        tracing::info!("[{NAME}] logged in as {}", who.user);
        *lock(&self.session) = Session::In(token.clone());
        self.is(&who);
        if let Some(file) = self.file() {
            let session = Kept {
                homeserver: self.homeserver(),
                user_id: who.user.clone(),
                device_id: who.device.clone(),
                access_token: Some(token.expose().to_owned()),
            };
            write(file, session).await;
        }
        Ok(who)
    }

    fn is(&self, who: &Who) {
        let _ = self.me.set(who.clone());
    }

    /// Remembers the device, and whether it is another one than before.
    pub(super) async fn note_device(&self, who: &Who) {
        // Some servers do not say which device it is.
        let (Some(file), Some(_)) = (self.file(), &who.device) else { return };
        let kept = self.kept();
        if kept.user_id == who.user && kept.device_id == who.device {
            return;
        }
        if kept.device_id.is_some() && kept.user_id == who.user {
            let _ = self.is_other_device.set(());
        }
        let (homeserver, user_id) = (self.homeserver(), who.user.clone());
        write(file, Kept { homeserver, user_id, device_id: who.device.clone(), access_token: None }).await;
    }

    /// Forgets a login that the homeserver has ended for good, and not its device: the next start logs in again.
    pub(super) async fn forget(&self) {
        let kept = self.kept();
        if let (Some(file), Some(_)) = (self.file(), &kept.access_token) {
            write(file, Kept { access_token: None, ..kept }).await;
        }
    }

    /// A request with the token of now.
    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<Value, Failure> {
        let (service, token) = (self.service().await?, self.token()?);
        service.ask(Some(&token), ask).await.inspect_err(|failure| self.heard(&token, failure))
    }

    /// The same, with the service: for files and syncs.
    pub(super) async fn with_token<T>(
        &self,
        work: impl AsyncFnOnce(&Service, &Secret) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let (service, token) = (self.service().await?, self.token()?);
        work(service, &token).await.inspect_err(|failure| self.heard(&token, failure))
    }

    /// Service and token, for what fails in its own way.
    pub(super) async fn both(&self) -> Result<(Service, Secret), Failure> {
        Ok((self.service().await?.clone(), self.token()?))
    }

    /// What a room is like.
    pub(super) async fn room(&self, id: &str) -> Result<Room, Failure> {
        if let Some(room) = lock(&self.rooms).get(id) {
            return Ok(room);
        }
        let (people, is_encrypted, name) =
            tokio::try_join!(self.people(id), self.is_encrypted(id), self.name(id))?;
        let room = Room { people, is_encrypted, name };
        lock(&self.rooms).put(id, room.clone());
        Ok(room)
    }

    async fn people(&self, room: &str) -> Result<usize, Failure> {
        let path = ["client", "v3", "rooms", room, "joined_members"];
        match self.ask(&Ask::get("members", &path)).await {
            Ok(answer) => Ok(answer["joined"].as_object().ok_or(WireError::Garbled("members"))?.len()),
            Err(Failure::Garbled(WireError::TooMuch(_))) => Ok(usize::MAX),
            Err(failure) => Err(failure),
        }
    }

    /// Whether what is said in a room is encrypted. That it is no secret there is only known where the server says so.
    async fn is_encrypted(&self, room: &str) -> Result<bool, Failure> {
        let path = ["client", "v3", "rooms", room, "state", "m.room.encryption"];
        self.state(&path).await.map(|found| found.is_some())
    }

    async fn name(&self, room: &str) -> Result<Option<String>, Failure> {
        let path = ["client", "v3", "rooms", room, "state", "m.room.name"];
        let found = self.state(&path).await?;
        let name = found.as_ref().and_then(|content| content["name"].as_str());
        let name = name.map(|name| name.chars().filter(|c| !c.is_control()).take(255).collect::<String>());
        Ok(name.filter(|name| !name.trim().is_empty()))
    }

    async fn state(&self, path: &[&str]) -> Result<Option<Value>, Failure> {
        match self.ask(&Ask::get("state", path)).await {
            Ok(content) => Ok(Some(content)),
            Err(failure) if failure.refusal().is_some_and(|refusal| refusal.code == "M_NOT_FOUND") => {
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Something about a room is not as it was.
    pub(super) fn changed(&self, room: &str) {
        lock(&self.rooms).take(room);
    }

    /// Rooms that the account takes for conversations of two.
    pub(super) fn set_direct(&self, rooms: Vec<String>) {
        *lock(&self.direct) = rooms.into_iter().collect();
    }

    /// Whether a room is a conversation of two.
    pub(super) fn is_private(&self, id: &str, room: &Room) -> bool {
        room.people <= 2 || lock(&self.direct).contains(id)
    }

    /// The bot takes part in a thread.
    pub(super) fn joins(&self, thread: &str) {
        lock(&self.threads).put(thread, ());
    }

    /// Whether it does. Who was started anew asks the server.
    pub(super) async fn is_in_thread(&self, room: &str, thread: &str) -> Result<bool, Failure> {
        if lock(&self.threads).get(thread).is_some() {
            return Ok(true);
        }
        let Some((first, raw)) = self.event(room, thread).await? else { return Ok(false) };
        let took_part = raw["unsigned"]["m.relations"]["m.thread"]["current_user_participated"] == true;
        let is_in = took_part || self.me().is_some_and(|me| me.user.eq_ignore_ascii_case(&first.sender));
        if is_in {
            self.joins(thread);
        }
        Ok(is_in)
    }

    /// An event, and all that the server says of it; `None`: there is none.
    pub(super) async fn event(&self, room: &str, id: &str) -> Result<Option<(wire::Event, Value)>, Failure> {
        let path = ["client", "v3", "rooms", room, "event", id];
        match self.ask(&Ask::get("event", &path)).await {
            Ok(raw) => Ok(wire::event(&raw).map(|event| (event, raw))),
            Err(failure) if failure.is_absence() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The sign that stands at an event is this one; the one before.
    pub(super) fn sign(&self, event: &str, sign: Option<String>) -> Option<String> {
        let mut signs = lock(&self.signs);
        let before = signs.take(event);
        if let Some(sign) = sign {
            signs.put(event, sign);
        }
        before
    }

    /// The servers of a room did not answer; how often now.
    pub(super) fn is_out_of_reach(&self, room: &str) -> u32 {
        let mut all = lock(&self.out_of_reach);
        let tries = all.take(room).unwrap_or(0) + 1;
        all.put(room, tries);
        tries
    }

    /// They did, or are not asked again.
    pub(super) fn is_settled(&self, room: &str) {
        lock(&self.out_of_reach).take(room);
    }

    /// A room shows that somebody types, or does not any more; whether it did.
    pub(super) fn types(&self, room: &str, now: bool) -> bool {
        let mut typed = lock(&self.typed);
        let before = typed.take(room).is_some();
        if now {
            typed.put(room, ());
        }
        before
    }
}

/// Writes down who is logged in, for the profile's user alone. What cannot be written costs a login at the next start.
async fn write(file: Utf8PathBuf, kept: Kept) {
    let written = blocking::run(move || -> std::io::Result<()> {
        if let Some(dir) = file.parent() {
            disk::make_dirs(dir, 0o700)?;
        }
        let text = serde_json::to_vec_pretty(&kept).map_err(std::io::Error::other)?;
        disk::write_atomic(&file, &text, true)
    });
    let why = match written.await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(lost) => lost.to_string(),
    };
    tracing::warn!("[{NAME}] who is logged in is not written down: {why}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_for_a_while_is_forgotten_in_order() {
        let mut known = Known::default();
        for n in 0..=KNOWN {
            known.put(&n.to_string(), n);
        }
        assert_eq!((known.get("0"), known.get("1"), known.all.len()), (None, Some(1), KNOWN));
        known.put("1", 7);
        assert_eq!((known.take("1"), known.get("1"), known.order.len()), (Some(7), None, KNOWN - 1));
    }
}
