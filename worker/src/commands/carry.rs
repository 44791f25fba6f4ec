//! Commands that change something: the home channel, the model, the worker itself.

use std::sync::Arc;

use hermes_host::blocking;
use rusqlite::{Connection, params};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Commands, answers, home_channel, model, personality, restart};
use crate::delivery::{ledger, notices};
use crate::inbound::{Accepted, Busy, Inbound};
use crate::session::{Now, chosen, epoch};
use crate::store::StoreError;

impl Commands {
    pub(super) async fn set_home(&self, event: &Inbound) -> Result<Accepted, StoreError> {
        // Before it is noted: what is not done is not known, and may come again.
        let source = event.source.clone();
        let Some(settings) = self.0.config.access.get(source.platform.as_str()) else {
            return self.say(event, "This platform has no home channel.".to_owned()).await;
        };
        let (home, chat, variable) = (self.0.home.clone(), source.clone(), settings.home_variable.clone());
        let set = blocking::run(move || home_channel::set(&home, &variable, &chat)).await;
        let text = match set {
            Ok(Ok(())) => answers::home_is_set(&source),
            Ok(Err(error)) => format!("The home channel stays as it is: {error}"),
            Err(lost) => format!("The home channel stays as it is: {lost}"),
        };
        self.say(event, text).await
    }

    /// Which model answers, or another one.
    pub(super) async fn model(&self, event: &Inbound, rest: &str) -> Result<Accepted, StoreError> {
        let inner = Arc::clone(&self.0);
        let wanted = match model::parse(rest) {
            Ok(wanted) => wanted,
            Err(text) => return self.say(event, text).await,
        };
        let source = event.source.clone();
        if wanted.model.is_none() {
            let job = move |db: &Connection, key: &str| {
                if wanted.resets {
                    let now = Now::in_zone(&inner.zone);
                    chosen::set(db, &inner.scopes, (key, &source), chosen::MODEL, None, &now)?;
                }
                Ok(Some(answers::model(&inner, &chosen::find(db, &inner.scopes, key)?)))
            };
            return self.answer(event, job).await;
        }
        let (look, asked) = (Arc::clone(&inner), wanted.clone());
        let found = blocking::run(move || {
            let found = model::reached(&look.config, &look.home, &asked)?;
            if asked.global { model::write(&look.home, &asked) } else { Ok(()) }.map(|()| found)
        });
        let (name, provider) = match found.await {
            Ok(Ok(found)) => found,
            Ok(Err(text)) => return self.say(event, text).await,
            Err(lost) => return self.say(event, format!("The model stays as it is: {lost}")).await,
        };
        let job = move |db: &Connection, key: &str| {
            // What holds for all holds here too.
            let value = (!wanted.global).then(|| model::noted(&wanted));
            let now = Now::in_zone(&inner.zone);
            chosen::set(db, &inner.scopes, (key, &source), chosen::MODEL, value, &now)?;
            let until = if wanted.global { "from now on" } else { "for this conversation" };
            Ok(Some(format!("Model: {name} ({provider}), {until}")))
        };
        self.answer(event, job).await
    }

    /// Which personality the profile has, or another one. Told from the next turn on, by this worker too, which is replaced.
    pub(super) async fn personality(&self, event: &Inbound, rest: &str) -> Result<Accepted, StoreError> {
        let inner = Arc::clone(&self.0);
        let overlay = &self.0.acts.overlay;
        let all = &self.0.config.prompt.personalities;
        let choice = match personality::parse(all, rest) {
            Ok(personality::Wanted::List) => {
                return self.say(event, personality::list(all, overlay.text().as_deref())).await;
            }
            Ok(personality::Wanted::Choice(choice)) => {
                choice.map(|(name, text)| (name.to_owned(), text.to_owned()))
            }
            Err(text) => return self.say(event, text).await,
        };
        let chosen = choice.clone();
        let written = blocking::run(move || {
            let choice = chosen.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
            personality::write(&inner.home, &inner.config.prompt.personalities, choice)
        });
        let text = match written.await {
            Ok(Ok(())) => {
                // In a newer file a text of somebody's own is told where no personality is.
                let own = all.text.as_deref().filter(|_| all.by_name);
                overlay.set(choice.as_ref().map(|(_, text)| text.as_str()).or(own));
                personality::said(choice.as_ref().map(|(name, _)| name.as_str()))
            }
            Ok(Err(error)) => format!("The personality stays as it is: {error}"),
            Err(lost) => format!("The personality stays as it is: {lost}"),
        };
        self.say(event, text).await
    }

    /// Asks nobody in this conversation, or asks again.
    pub(super) async fn yolo(&self, event: &Inbound) -> Result<Accepted, StoreError> {
        let (inner, source) = (Arc::clone(&self.0), event.source.clone());
        let job = move |db: &Connection, key: &str| {
            let unasked = !chosen::find(db, &inner.scopes, key)?.unasked;
            let (value, now) = (unasked.then_some(Value::Bool(true)), Now::in_zone(&inner.zone));
            chosen::set(db, &inner.scopes, (key, &source), chosen::UNASKED, value, &now)?;
            Ok(Some(
                if unasked {
                    "⚠️ Nobody is asked in this conversation any more before something dangerous is done. /yolo turns that off."
                } else {
                    "Somebody is asked again before something dangerous is done."
                }
                .to_owned(),
            ))
        };
        self.answer(event, job).await
    }

    /// `/platform list|pause|resume`
    pub(super) fn platform(&self, own: &str, rest: &str) -> String {
        let Some(board) = &self.0.acts.platforms else { return answers::platforms(&[]) };
        let mut words = rest.split_whitespace();
        let paused = match (words.next(), words.next()) {
            (None | Some("list"), None) => return answers::platforms(&board.list()),
            (Some("pause"), Some(name)) => (name.to_lowercase(), true),
            (Some("resume"), Some(name)) => (name.to_lowercase(), false),
            _ => return "Write /platform list, /platform pause NAME or /platform resume NAME.".to_owned(),
        };
        let (name, pause) = paused;
        if pause && name == own {
            return format!("This chat is on {name}: nobody could resume it from here.");
        }
        match (board.pause(&name, pause), pause) {
            (false, _) => format!("This profile has no platform `{name}`. /platform list says which it has."),
            (true, true) => {
                format!("{name} is paused until /platform resume {name}, or until the worker starts again.")
            }
            (true, false) => format!("{name} is connected again."),
        }
    }

    /// Has another worker take this one's place, once the answer is out. The same message again changes nothing: it is known.
    pub(super) async fn restart(&self, event: &Inbound) -> Result<Accepted, StoreError> {
        let Some(restart) = self.0.acts.restart.clone() else {
            return self.say(event, "Nothing here would start this worker again.".to_owned()).await;
        };
        if let Some(key) = &event.dedup
            && self.0.inbox.is_known(&event.source.platform, key).await?
        {
            return Ok(Accepted::Duplicate);
        }
        let (home, source) = (self.0.home.clone(), event.source.clone());
        // One restart is told apart from another by the message that asked for it.
        let message = event.dedup.as_ref().map(|key| key.id.clone());
        // Who asked hears of it all the same, only not of the end.
        match blocking::run(move || notices::note(&home, &source, message.as_deref())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("who asked for a restart is not noted: {error}"),
            Err(lost) => tracing::warn!(error = %lost, "who asked for a restart is not noted"),
        }
        let accepted = self.leave(event, restart::text).await?;
        if accepted == Accepted::New {
            tracing::info!(
                platform = event.source.platform,
                user = event.source.user_id.as_deref().unwrap_or_default(),
                "somebody asks for a restart of this worker"
            );
            restart.notify_one();
        }
        Ok(accepted)
    }

    /// Starts the tool servers again, and all else with them.
    pub(super) async fn reload(&self, event: &Inbound) -> Result<Accepted, StoreError> {
        let Some(restart) = self.0.acts.restart.clone() else {
            return self.say(event, "Nothing here would start the tool servers again.".to_owned()).await;
        };
        let text =
            |_| "The tool servers start again, in a new worker; what runs is finished first.".to_owned();
        let accepted = self.leave(event, text).await?;
        if accepted == Accepted::New {
            restart.notify_one();
        }
        Ok(accepted)
    }

    /// Answers, and waits a moment for the answer to get out.
    async fn leave(
        &self,
        event: &Inbound,
        text: impl FnOnce(i64) -> String + Send + 'static,
    ) -> Result<Accepted, StoreError> {
        let (of, name) = (event.clone(), restart::name(event));
        let key = ledger::key_of("", &name);
        let put = key.clone();
        let job = move |db: &Connection, _: &str| {
            if !ledger::is_kept(&of.delivery) {
                return Ok(());
            }
            let running: i64 = db
                .prepare_cached("SELECT count(*) FROM hermes_inbox WHERE state = 'claimed'")?
                .query_row(params![], |row| row.get(0))?;
            let letter = ledger::Letter {
                session: "",
                platform: &of.source.platform,
                chat_id: of.source.chat_id.as_deref().unwrap_or_default(),
                target: &of.delivery,
                text: &text(running),
            };
            ledger::add_once(db, &put, &letter, epoch()).map(drop)
        };
        let accepted = self.0.inbox.carry_out(event, job).await?;
        if accepted != Accepted::New {
            return Ok(accepted);
        }
        self.0.deliveries.ring();
        let until = Instant::now() + restart::PATIENCE;
        while Instant::now() < until {
            let key = key.clone();
            // What cannot be found out is not waited for.
            if self.0.inbox.store().aside(move |db| restart::is_out(db, &key)).await.unwrap_or(true) {
                break;
            }
            sleep(restart::LOOK).await;
        }
        Ok(accepted)
    }

    /// Stops the turn that runs, wherever it does: by an item that interrupts it and says nothing itself.
    pub(super) async fn stop(&self, event: &Inbound) -> Result<Accepted, StoreError> {
        if !self.runs(event).await? {
            return self.say(event, "Nothing runs here that could be stopped.".to_owned()).await;
        }
        let item = Inbound { text: "/stop".to_owned(), busy: Busy::Interrupt, ..event.clone() };
        let accepted = self.0.inbox.accept(item).await?;
        if accepted == Accepted::New {
            let text = "⏹ Stopped. What was done so far stays part of the conversation.";
            self.letter(event, text.to_owned()).await?;
        }
        Ok(accepted)
    }
}
