//! Commands at a terminal, which has no key and no inbox: whoever sits there says which conversation is meant, and hears the answer at once.
//!
//! What was chosen (a model, that nobody is asked) is kept by the terminal itself and comes with every command and question. What changes
//! the conversation is a turn of it, so that it happens under its lease.

use std::sync::Arc;

use hermes_host::blocking;
use hermes_wire::terminal::{Chosen as Kept, Offered, Order, PLATFORM, Then};
use rusqlite::Connection;

use super::conversations::{self, Of};
use super::table::{self, Act, Called};
use super::{Commands, UNKNOWN, answers, menu, model};
use crate::engine::Choice;
use crate::inbound::Source;
use crate::session::chosen::Chosen;
use crate::session::{end_by_id, epoch, history};
use crate::store::StoreError;
use crate::turn::{Change, SessionRef, Turn, TurnError, Turns};

/// What is said, and what follows.
type Told = (String, Then);

/// Why nothing is said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTold {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The turn that a command is came to nothing.
    #[error(transparent)]
    Turn(#[from] TurnError),
}

fn only(text: impl Into<String>) -> Told {
    (text.into(), Then::Nothing)
}

impl Commands {
    /// The profile's model, for people.
    pub(crate) fn model_name(&self) -> &str {
        &self.0.model
    }

    /// What can be typed at a terminal. Blocks nobody for long: skills are looked at.
    pub(crate) async fn offered_at_terminal(&self) -> Vec<Offered> {
        let skills = self.0.skills.clone();
        let skills = blocking::run(move || skills.menu(PLATFORM)).await.unwrap_or_default();
        let skills = skills.into_iter().filter(|(name, _)| table::find(name).is_none());
        let own = menu().map(|(name, about)| Offered {
            name: name.to_owned(),
            about: about.to_owned(),
            is_skill: false,
        });
        own.chain(skills.map(|(name, about)| Offered { name, about, is_skill: true })).collect()
    }

    /// What is said to a command, and what follows from it.
    pub(crate) async fn at_terminal(&self, turns: &Turns, order: Order) -> Result<Told, NotTold> {
        let inner = Arc::clone(&self.0);
        let Order { session, text, model: kept, yolo, .. } = order;
        let Some(Called { name, rest }) = table::called(&text, false) else {
            return Ok((String::new(), Then::Ask { text }));
        };
        let Some(command) = table::find(&name) else { return Ok(self.other_at_terminal(text, &name).await) };
        let chosen =
            Chosen { model: kept.map(|Kept { model, provider }| Choice { model, provider }), unasked: yolo };
        match command.act {
            Act::Message(_) if rest.is_empty() => {
                return Ok(only(format!("Write /{} and behind it what you want to say.", command.name)));
            }
            // Nothing runs where a command is typed.
            Act::Message(_) => return Ok((String::new(), Then::Ask { text: rest })),
            Act::Silence => return Ok(only("")),
            _ => {}
        }
        let change = match command.name {
            "undo" => Some(Change::Undo),
            "retry" => Some(Change::TakeBack),
            "compress" => Some(Change::Compress((!rest.is_empty()).then(|| rest.clone()))),
            _ => None,
        };
        if let Some(change) = change {
            return self.change(turns, session, change).await;
        }
        Ok(match command.name {
            "new" => {
                self.write(move |db| end_by_id(db, &inner.shapes, &session, "new_session", epoch())).await?;
                ("✨ New conversation: what was said before is kept, and not part of it.".to_owned(), Then::Begin)
            }
            "stop" => only("Nothing runs here that could be stopped; Ctrl-C stops an answer."),
            "approve" | "deny" => only("Nothing waits for an approval here: it is asked for where it is needed."),
            "sethome" => only("A terminal is no place that messages could be sent to."),
            "status" => only(self.look(move |db| answers::status_of(db, &inner, &session, &chosen)).await?),
            "title" => only(
                self.write(move |db| {
                    if is_there(db, &session)? {
                        conversations::title_of(db, &session, &rest)
                    } else {
                        Ok(conversations::NONE.to_owned())
                    }
                })
                .await?,
            ),
            "usage" => only(self.look(move |db| conversations::usage_of(db, &session)).await?),
            "sessions" => {
                let of = Of::Platform(PLATFORM);
                only(self.look(move |db| conversations::listed(db, of, Some(&session))).await?)
            }
            "resume" => self.look(move |db| resume(db, &session, rest.trim())).await?,
            "model" => self.model_at_terminal(&chosen, &rest).await,
            "yolo" if chosen.unasked => {
                ("Somebody is asked again before something dangerous is done.".to_owned(), Then::Yolo { yolo: false })
            }
            "yolo" => (
                "⚠️ Nobody is asked in this conversation any more before something dangerous is done. /yolo turns that off."
                    .to_owned(),
                Then::Yolo { yolo: true },
            ),
            "platform" => only(self.platform(PLATFORM, &rest)),
            "restart" | "reload-mcp" => only(self.restart_from_terminal()),
            name => only(self.said_at_once(&Source { platform: PLATFORM.to_owned(), ..Source::default() }, None, name).await),
        })
    }

    /// What begins with a slash and is no command of the table: a skill, which is asked, or nothing.
    async fn other_at_terminal(&self, text: String, name: &str) -> Told {
        let (skills, asked) = (self.0.skills.clone(), text.clone());
        let is_skill =
            blocking::run(move || skills.expanded(&asked, PLATFORM).is_some()).await.unwrap_or(true);
        if is_skill {
            (String::new(), Then::Ask { text })
        } else if table::is_absent(name) {
            only(answers::absent(name))
        } else {
            only(format!("Unknown command `/{name}`. {UNKNOWN}"))
        }
    }

    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.inbox.store().write_for_client(job).await
    }

    async fn look<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.inbox.store().aside(job).await
    }

    async fn change(&self, turns: &Turns, session: String, change: Change) -> Result<Told, NotTold> {
        let id = session.clone();
        if !self.look(move |db| is_there(db, &id)).await? {
            return Ok(only(conversations::NONE));
        }
        let asks = change == Change::TakeBack;
        let source = Source { platform: PLATFORM.to_owned(), ..Source::default() };
        let turn = Turn::new(source, SessionRef::Continue(session));
        let said = turns.change(turn, change).await?;
        Ok(match (asks, said.is_empty()) {
            (true, true) => only("There is nothing here that could be asked again."),
            (true, false) => (String::new(), Then::Ask { text: said }),
            (false, _) => only(said),
        })
    }

    async fn model_at_terminal(&self, chosen: &Chosen, rest: &str) -> Told {
        let inner = Arc::clone(&self.0);
        let wanted = match model::parse(rest) {
            Ok(wanted) => wanted,
            Err(text) => return only(text),
        };
        if wanted.resets {
            return (answers::model(&inner, &Chosen::default()), Then::Model { chosen: None });
        }
        let Some(name) = wanted.model.clone() else { return only(answers::model(&inner, chosen)) };
        let asked = wanted.clone();
        let found = blocking::run(move || {
            let found = model::reached(&inner.config, &inner.home, &asked)?;
            if asked.global { model::write(&inner.home, &asked) } else { Ok(()) }.map(|()| found)
        });
        match found.await {
            Ok(Ok((model, provider))) => {
                let until = if wanted.global { "from now on" } else { "for this conversation" };
                // What holds for all comes with the worker that reads it; until that is there it is chosen here.
                let kept = Kept { model: name, provider: wanted.provider };
                (format!("Model: {model} ({provider}), {until}"), Then::Model { chosen: Some(kept) })
            }
            Ok(Err(text)) => only(text),
            Err(lost) => only(format!("The model stays as it is: {lost}")),
        }
    }

    fn restart_from_terminal(&self) -> String {
        match &self.0.acts.restart {
            Some(restart) => {
                restart.notify_one();
                "Another worker takes this one's place; what runs is finished first.".to_owned()
            }
            None => "This worker is this terminal's own: leave with /exit and come again.".to_owned(),
        }
    }
}

/// Whether there is a session of this id.
fn is_there(db: &Connection, id: &str) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT EXISTS (SELECT 1 FROM sessions WHERE id = ?1)")?
        .query_row([id], |row| row.get(0))
}

/// `/resume [number|title|id]`: any conversation of the profile, as `--resume` takes them.
fn resume(db: &Connection, session: &str, wanted: &str) -> rusqlite::Result<Told> {
    let of = Of::Platform(PLATFORM);
    if wanted.is_empty() {
        return conversations::listed(db, of, Some(session)).map(only);
    }
    let found = match conversations::numbered(db, of, wanted)? {
        Some(id) => Some(id),
        None => history::named(db, wanted)?,
    };
    let Some(id) = found else {
        return Ok(only(format!(
            "There is no conversation `{wanted}`. /sessions lists those of the terminal."
        )));
    };
    if id == session {
        return Ok(only("That is the conversation you are in."));
    }
    Ok((conversations::taken_up(db, &id)?, Then::GoOn { session: id }))
}
