//! `slack`: a bot of one or more workspaces, through Socket Mode or as requests of Slack's.
//!
//! ```text
//!  socket ─┐                     ┌─ at once ──────────────────▶ reception ─▶ inbox
//!          ├─▶ wire ─▶ intake ─▶ gate                               ▲
//!  requests┘      (acknowledged) └─ desk (on disk: files, names, ───┘
//!                                         what was said before)
//!  chat.postMessage, response_url, files ◀─ service ◀─ outbound ◀═ ledger
//! ```
//!
//! # Guarantees
//!
//! - An event is acknowledged after it was stored, within Slack's three seconds, and never before. Offered twice, as a message and a
//!   mention, through two sockets or again, it is one, by its channel and time.
//! - A new socket is open before an old one is left, and a new generation of this worker connects before the old one closes.
//! - A token that Slack takes back is not used any more, whoever heard of it.
//! - Tokens go to Slack's own servers, or to what the files name instead, and are in no text.
//! - A message whose request broke off is sent again with a mark: Slack knows no keys, and may show it twice.

mod bot;
mod check;
mod desk;
mod event;
mod failures;
mod gate;
mod intake;
mod outbound;
mod press;
mod refused;
mod requests;
mod service;
mod settings;
mod socket;
#[cfg(test)]
mod tests;
mod text;
mod wire;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hermes_config::Secret;
use hermes_config::network::Network;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::backoff::Backoff;
use super::{Adapter, Class, Context, Down, Folder, Link, Outside, Platform, PlatformFuture, is_callable};
use crate::delivery::outbound::Outbound;
use crate::handover::Reception;
use crate::inbox::Inbox;
use bot::{Bot, Team};
use desk::Desk;
use failures::down;
use outbound::Chats;
use refused::Refused;
use requests::Door;
use service::Service;
use settings::{DECLARATION, Mode, NAME, Settings};
use wire::Refusal;

/// Silence that a connection does not survive: twice what a socket survives, one that is being opened and all.
const WINDOW: Duration = Duration::from_secs(90);
/// Wait before the first try after a loss; each next one is twice as long, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The variable of the bot's tokens.
const TOKEN: &str = "SLACK_BOT_TOKEN";
/// The variable of the app's own token.
const APP: &str = "SLACK_APP_TOKEN";
/// What is missing where Slack is to call this gateway, and what to do.
const NO_PORT: &str = "Slack is to call this gateway, and no port of webhooks is open";
const OPEN_PORT: &str = "set WEBHOOK_ENABLED=true in the default profile's .env, or SLACK_APP_TOKEN here";

/// What no answer is sent without.
const VITAL: &str = "chat:write";
/// Scopes without which something does not work.
const USEFUL: [&str; 8] = [
    "app_mentions:read",
    "channels:history",
    "files:read",
    "files:write",
    "im:history",
    "reactions:write",
    "users:read",
    "assistant:write",
];

/// One line of the registry.
pub(super) const FOLDER: Folder =
    Folder { declaration: &DECLARATION, connect, outbound: Some(way_out), check: Some(check::check) };

fn connect(context: &Context) -> Option<Platform> {
    let settings: &Settings = context.config.settings.of(NAME)?;
    let desk = Desk::new(context.inbox.clone());
    let bot = watch::Sender::new(None);
    let routes = match &settings.mode {
        Mode::Http(secret) => {
            let door = Door { secret: secret.clone(), desk: desk.clone(), bot: bot.subscribe() };
            Some(requests::routes(door))
        }
        Mode::Socket(_) => None,
    };
    let adapter = Slack {
        settings: settings.clone(),
        network: Network::of(&context.config.env).over(&context.child_env),
        reception: context.reception.clone(),
        inbox: context.inbox.clone(),
        is_reachable: is_callable(&context.listeners),
        desk,
        bot,
        refused: context.shared.of(NAME, Refused::default),
        backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
    };
    Some(Platform { declaration: &DECLARATION, routes, pages: None, adapter: Arc::new(adapter) })
}

fn way_out(outside: &Outside<'_>) -> Option<Arc<dyn Outbound>> {
    let settings: &Settings = outside.config.settings.of(NAME)?;
    let network = Network::of(&outside.config.env).over(outside.inherited);
    Some(Arc::new(Chats::new(settings.clone(), network, outside.shared.of(NAME, Refused::default))))
}

/// The adapter.
struct Slack {
    settings: Settings,
    network: Network,
    reception: Reception,
    inbox: Inbox,
    /// A port is open on which Slack can call.
    is_reachable: bool,
    desk: Desk,
    /// Who it is, once that is known.
    bot: watch::Sender<Option<Arc<Bot>>>,
    refused: Arc<Refused>,
    backoff: Backoff,
}

impl Adapter for Slack {
    fn run(&self, link: Link) -> PlatformFuture<'_, Result<(), Down>> {
        Box::pin(async move {
            let ended = self.connect(&link).await;
            if ended.is_ok() {
                self.desk.finish().await;
            }
            ended.map_err(|down| self.backoff.after(down))
        })
    }

    fn window(&self) -> Option<Duration> {
        matches!(self.settings.mode, Mode::Socket(_)).then_some(WINDOW)
    }
}

impl Slack {
    async fn connect(&self, link: &Link) -> Result<(), Down> {
        let bot = tokio::select! {
            biased;
            _ = link.told() => return Ok(()),
            bot = self.sign_in() => Arc::new(bot?),
        };
        self.bot.send_replace(Some(Arc::clone(&bot)));
        let stands = || self.backoff.stands();
        let listening = async {
            match &self.settings.mode {
                Mode::Socket(_) => {
                    let app = Service::app(&self.settings, &self.network, &self.refused)
                        .map_err(|failure| down(&failure, TOKEN))?;
                    socket::listen(app, &self.network, &bot, &self.desk, link, stands).await
                }
                Mode::Http(_) => {
                    stands();
                    self.be_called(&bot, link).await
                }
            }
        };
        tokio::select! {
            biased;
            down = self.watch(&bot) => {
                self.bot.send_replace(None);
                Err(down)
            }
            ended = listening => ended,
        }
    }

    /// Asks who the bot is in each workspace. One that does not have it any more stays out, while there is another.
    async fn sign_in(&self) -> Result<Bot, Down> {
        let services = Service::all(&self.settings, &self.network, &self.refused)
            .map_err(|failure| down(&failure, TOKEN))?;
        if matches!(self.settings.mode, Mode::Http(_)) && !self.is_reachable {
            return Err(Down::fatal("slack_config_missing", format!("{NO_PORT}: {OPEN_PORT}")));
        }
        let (mut teams, mut refused) = (Vec::new(), None);
        for (n, service) in services.into_iter().enumerate() {
            match service.me().await {
                Ok((me, scopes)) => {
                    if let Some(down) = scopes.and_then(|scopes| lacking(&scopes)) {
                        refused.get_or_insert(down);
                        continue;
                    }
                    tracing::info!("[{NAME}] the bot is @{} in {}", shown(&me.user), shown(&me.team));
                    teams.push(Team::new(me, service));
                }
                Err(failure) => {
                    let down = down(&failure, self.settings.source(n));
                    if down.class != Class::Fatal {
                        return Err(down);
                    }
                    if self.settings.tokens.len() > 1 {
                        tracing::error!("[{NAME}] workspace {} stays out: {down}", n + 1);
                    }
                    refused.get_or_insert(down);
                }
            }
        }
        match refused {
            Some(down) if teams.is_empty() => Err(down),
            _ => Ok(Bot::new(teams, &self.settings, &self.reception, &self.inbox)),
        }
    }

    /// Waits until Slack takes back what nothing goes on without.
    async fn watch(&self, bot: &Bot) -> Down {
        let app: Vec<&Secret> = match &self.settings.mode {
            Mode::Socket(token) => vec![token],
            Mode::Http(_) => Vec::new(),
        };
        let mut good: Vec<&Secret> = bot.teams.iter().map(|team| team.service.token()).collect();
        loop {
            let watched: Vec<&Secret> = app.iter().chain(&good).copied().collect();
            self.refused.any_of(&watched).await;
            if let Some(error) = app.iter().find_map(|token| self.refused.of(token)) {
                return taken_back(&error, APP);
            }
            let (gone, rest): (Vec<&Secret>, Vec<&Secret>) =
                good.iter().partition(|token| self.refused.of(token).is_some());
            good = rest;
            let error = gone.iter().find_map(|token| self.refused.of(token)).unwrap_or_default();
            if good.is_empty() {
                return taken_back(&error, TOKEN);
            }
            tracing::error!("[{NAME}] a workspace has taken the bot's token back: {}", shown(&error));
        }
    }

    /// Slack calls; nothing is to be done but to look after what waits.
    async fn be_called(&self, bot: &Arc<Bot>, link: &Link) -> Result<(), Down> {
        link.up();
        let mut look = interval(socket::LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = link.told() => return Ok(()),
                _ = look.tick() => {
                    if let Err(error) = self.desk.look(bot).await {
                        tracing::debug!("[{NAME}] what others left is not looked at: {}", error.reason());
                    }
                }
            }
        }
    }
}

/// What is missing to a bot that may do only this; what it cannot do without is fatal, the rest is said.
fn lacking(scopes: &BTreeSet<String>) -> Option<Down> {
    if !scopes.contains(VITAL) {
        return Some(taken_back(&format!("{}{VITAL}", refused::SCOPE), TOKEN));
    }
    if let Some(missing) = useful(scopes) {
        tracing::warn!("[{NAME}] the app lacks scopes, and what they are for does not work: {missing}");
    }
    None
}

/// What is missing of the scopes that one can do without.
fn useful(scopes: &BTreeSet<String>) -> Option<String> {
    let missing: Vec<&str> = USEFUL.into_iter().filter(|scope| !scopes.contains(*scope)).collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

/// What a connection is whose token was taken back, for a reason that was noted.
fn taken_back(error: &str, whose: &str) -> Down {
    let (error, needed) = match error.strip_prefix(refused::SCOPE) {
        Some(needed) => ("missing_scope", needed),
        None => (error, ""),
    };
    let refusal =
        Refusal { status: 200, error: error.to_owned(), needed: needed.to_owned(), ..Refusal::default() };
    down(&service::Failure::Refused { what: "a request", refusal }, whose)
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}
