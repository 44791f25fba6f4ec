//! `response_store.db`: the responses of one profile that can be asked for again and gone on from, in the file of 0.19.0.
//!
//! One connection, opened when it is first needed, behind a lock that only threads for blocking work wait for. Other processes may have
//! the file open: another generation of this worker, or 0.19.0. Of the `most` entries that are kept, that goes first which has not
//! been asked for longest, and with it the name of the conversation whose end it was. What a power failure takes is the latest entries at
//! most, which cost their clients one request: each commit is not waited for by the disk.

use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::blocking;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::{Map, Value, json};

use super::super::error::ApiError;
use crate::session::epoch;
use crate::store::StoreError;

/// How long another process's lock is waited for.
const BUSY: Duration = Duration::from_secs(4);

/// Tables as 0.19.0 makes them, and indexes that it lacks.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS responses (
        response_id TEXT PRIMARY KEY,
        data TEXT NOT NULL,
        accessed_at REAL NOT NULL
    );
    CREATE TABLE IF NOT EXISTS conversations (
        name TEXT PRIMARY KEY,
        response_id TEXT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS hermes_responses_accessed ON responses(accessed_at);
    CREATE INDEX IF NOT EXISTS hermes_conversations_response ON conversations(response_id);";

/// What is kept of a response.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Kept {
    /// As clients get it.
    pub(super) response: Value,
    /// The conversation with its answer, as messages of a chat completion.
    pub(super) history: Vec<Value>,
    /// The client's own system text.
    pub(super) instructions: Option<String>,
    /// The session that its turn ran in.
    pub(super) session_id: Option<String>,
    /// What was new in the request; `None` in entries of 0.19.0.
    pub(super) input: Option<Vec<Value>>,
}

impl Kept {
    /// As 0.19.0 writes it; `input_items` is ours, and nothing to it.
    fn to_text(&self) -> String {
        let mut data = json!({
            "response": self.response,
            "conversation_history": self.history,
            "instructions": self.instructions,
            "session_id": self.session_id,
        });
        if let Some(input) = &self.input {
            data["input_items"] = Value::Array(input.clone());
        }
        data.to_string()
    }

    fn read(text: &str) -> Option<Self> {
        let Value::Object(mut data) = serde_json::from_str(text).ok()? else { return None };
        let response = data.remove("response").filter(Value::is_object)?;
        let list = |data: &mut Map<String, Value>, name: &str| match data.remove(name) {
            Some(Value::Array(items)) => Some(items),
            _ => None,
        };
        let text = |data: &mut Map<String, Value>, name: &str| match data.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        Some(Self {
            response,
            history: list(&mut data, "conversation_history").unwrap_or_default(),
            instructions: text(&mut data, "instructions"),
            session_id: text(&mut data, "session_id"),
            input: list(&mut data, "input_items"),
        })
    }
}

/// The responses of this profile. Cloning shares them.
#[derive(Debug, Clone)]
pub(in super::super) struct Responses(Arc<Shelf>);

#[derive(Debug)]
struct Shelf {
    path: Utf8PathBuf,
    most: u32,
    db: Mutex<Option<Connection>>,
}

impl Responses {
    /// Those of a home. Nothing is opened yet.
    pub(in super::super) fn new(home: &Utf8Path, most: u32) -> Self {
        Self(Arc::new(Shelf { path: home.join("response_store.db"), most, db: Mutex::new(None) }))
    }

    /// The response as clients get it, which counts as a use.
    pub(super) async fn response(&self, id: &str) -> Result<Option<String>, ApiError> {
        let id = id.to_owned();
        self.run(move |db, _| {
            let found = db
                .prepare_cached(
                    "SELECT CASE WHEN json_valid(data) THEN data -> '$.response' END FROM responses WHERE response_id = ?1",
                )?
                .query_row([&id], |row| row.get::<_, Option<String>>(0))
                .optional()?;
            match found {
                Some(Some(text)) => touch(db, &id).map(|()| Some(text)),
                // As in 0.19.0: what cannot be read is nothing, and goes.
                Some(None) => remove(db, &id).map(|_| None),
                None => Ok(None),
            }
        })
        .await
    }

    /// Everything that is kept of a response, which counts as a use.
    pub(super) async fn get(&self, id: &str) -> Result<Option<Kept>, ApiError> {
        let id = id.to_owned();
        self.run(move |db, _| {
            let text: Option<String> = db
                .prepare_cached("SELECT data FROM responses WHERE response_id = ?1")?
                .query_row([&id], |row| row.get(0))
                .optional()?;
            let Some(text) = text else { return Ok(None) };
            let kept = Kept::read(&text);
            if kept.is_some() {
                touch(db, &id)?;
            } else {
                remove(db, &id)?;
            }
            Ok(kept)
        })
        .await
    }

    /// The latest response of a conversation.
    pub(super) async fn latest(&self, conversation: &str) -> Result<Option<String>, ApiError> {
        let name = conversation.to_owned();
        self.run(move |db, _| {
            db.prepare_cached("SELECT response_id FROM conversations WHERE name = ?1")?
                .query_row([name], |row| row.get(0))
                .optional()
        })
        .await
    }

    /// Keeps a response, at the end of a conversation where it is one's.
    pub(super) async fn put(
        &self,
        id: &str,
        kept: Kept,
        conversation: Option<String>,
    ) -> Result<(), ApiError> {
        let id = id.to_owned();
        self.run(move |db, most| {
            let data = kept.to_text();
            let transaction = db.unchecked_transaction()?;
            db.prepare_cached(
                "INSERT OR REPLACE INTO responses(response_id, data, accessed_at) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![id, data, epoch()])?;
            if let Some(name) = conversation {
                db.prepare_cached("INSERT OR REPLACE INTO conversations(name, response_id) VALUES (?1, ?2)")?
                    .execute([&name, &id])?;
            }
            let there: i64 = db.query_row("SELECT count(*) FROM responses", [], |row| row.get(0))?;
            let over = there - i64::from(most);
            if over > 0 {
                let oldest =
                    "SELECT response_id FROM responses WHERE response_id <> ?1 ORDER BY accessed_at LIMIT ?2";
                db.execute(
                    &format!("DELETE FROM conversations WHERE response_id IN ({oldest})"),
                    params![id, over],
                )?;
                db.execute(
                    &format!("DELETE FROM responses WHERE response_id IN ({oldest})"),
                    params![id, over],
                )?;
            }
            transaction.commit()
        })
        .await
    }

    /// Forgets a response, and the name of the conversation that it is the end of. `false`: there was none.
    pub(super) async fn delete(&self, id: &str) -> Result<bool, ApiError> {
        let id = id.to_owned();
        self.run(move |db, _| remove(db, &id)).await
    }

    async fn run<T, F>(&self, job: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, u32) -> rusqlite::Result<T> + Send + 'static,
    {
        let kept = Arc::clone(&self.0);
        let done = blocking::run(move || {
            // A panic in a job leaves no half-made change: its transaction is rolled back.
            let mut db = kept.db.lock().unwrap_or_else(PoisonError::into_inner);
            if db.is_none() {
                *db = Some(open(&kept.path)?);
            }
            let Some(db) = db.as_ref() else { unreachable!("it was opened just now") };
            job(db, kept.most).map_err(|error| StoreError::writing(&kept.path, error))
        });
        match done.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                tracing::error!(error = %error.reason(), "[api_server] `{}` cannot be used", self.0.path);
                Err(ApiError::store_away(&format!("Stored responses cannot be used: {}.", error.told())))
            }
            Err(lost) => Err(ApiError::store_away(&format!("Stored responses cannot be used now: {lost}."))),
        }
    }
}

fn touch(db: &Connection, id: &str) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE responses SET accessed_at = ?2 WHERE response_id = ?1")?
        .execute(params![id, epoch()])?;
    Ok(())
}

fn remove(db: &Connection, id: &str) -> rusqlite::Result<bool> {
    db.prepare_cached("DELETE FROM conversations WHERE response_id = ?1")?.execute([id])?;
    Ok(db.prepare_cached("DELETE FROM responses WHERE response_id = ?1")?.execute([id])? > 0)
}

/// Opens the file, readable for its owner alone.
fn open(path: &Utf8Path) -> Result<Connection, StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source: Arc::new(source) };
    let mut options = std::fs::OpenOptions::new();
    options.write(true).mode(0o600);
    let file = hermes_host::file::open_or_create(path, &options).map_err(io)?;
    let mode = file.metadata().map_err(io)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(io)?;
    }
    drop(file);
    let prepare = || {
        let db = Connection::open(path)?;
        db.busy_timeout(BUSY)?;
        db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -256")?;
        db.execute_batch(SCHEMA)?;
        Ok(db)
    };
    prepare().map_err(|error| StoreError::opening(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> Kept {
        Kept {
            response: json!({"id": "resp_x", "output": [text]}),
            history: vec![json!({"role": "user", "content": text})],
            instructions: Some("Be brief.".to_owned()),
            session_id: Some("s".to_owned()),
            input: Some(vec![json!({"type": "message"})]),
        }
    }

    fn home() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        (dir, path)
    }

    #[tokio::test]
    async fn what_is_kept_comes_back_and_the_least_used_goes_first() {
        let (_dir, home) = home();
        let store = Responses::new(&home, 2);
        store.put("a", kept("one"), Some("talk".to_owned())).await.unwrap();
        store.put("b", kept("two"), Some("other".to_owned())).await.unwrap();
        assert_eq!(store.get("a").await.unwrap(), Some(kept("one")));
        assert_eq!(store.latest("talk").await.unwrap().as_deref(), Some("a"));
        store.put("c", kept("three"), None).await.unwrap();
        assert_eq!(store.get("b").await.unwrap(), None, "it was not asked for longest");
        assert_eq!(store.latest("other").await.unwrap(), None, "and its conversation has no end any more");
        assert!(store.delete("a").await.unwrap() && !store.delete("a").await.unwrap());
        assert_eq!(store.latest("talk").await.unwrap(), None);
        let mode = fs_err::metadata(home.join("response_store.db")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    /// A file of 0.19.0, open to others: it is continued, and closed to them.
    #[tokio::test]
    async fn files_of_0_19_0_are_continued() {
        let (_dir, home) = home();
        let path = home.join("response_store.db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch(
            r#"CREATE TABLE responses (response_id TEXT PRIMARY KEY, data TEXT NOT NULL, accessed_at REAL NOT NULL);
             CREATE TABLE conversations (name TEXT PRIMARY KEY, response_id TEXT NOT NULL);
             INSERT INTO responses VALUES ('resp_1', '{"response": {"id": "resp_1", "status": "completed"}, "conversation_history":
                [{"role": "user", "content": "h\u00e9"}], "instructions": null, "session_id": "s1"}', 1.5), ('resp_2', '{broken', 2);
             INSERT INTO conversations VALUES ('talk', 'resp_1'), ('lost', 'resp_2');"#,
        )
        .unwrap();
        drop(db);
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let store = Responses::new(&home, 100);
        let found = store.get("resp_1").await.unwrap().unwrap();
        assert_eq!((found.session_id.as_deref(), &found.history[0]["content"]), (Some("s1"), &json!("hé")));
        assert_eq!((found.instructions, found.input), (None, None));
        assert_eq!(
            store.response("resp_1").await.unwrap().as_deref(),
            Some(r#"{"id":"resp_1","status":"completed"}"#)
        );
        assert_eq!(store.response("resp_2").await.unwrap(), None, "what cannot be read is nothing");
        assert_eq!(store.latest("lost").await.unwrap(), None);
        assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    /// 10 000 entries: one is found as fast as one of ten. The bound is generous; what it would catch is a look at all of them.
    #[tokio::test]
    async fn many_cost_nothing() {
        let (_dir, home) = home();
        let store = Responses::new(&home, 10_000);
        store.put("resp_0", kept("first"), None).await.unwrap();
        let text = kept(&"word ".repeat(200)).to_text();
        let fill = move |db: &Connection, _| {
            let transaction = db.unchecked_transaction()?;
            for nth in 1..10_000 {
                db.prepare_cached("INSERT INTO responses VALUES (?1, ?2, ?3)")?.execute(params![
                    format!("resp_{nth}"),
                    text,
                    f64::from(nth)
                ])?;
            }
            transaction.commit()
        };
        store.run(fill).await.unwrap();
        let mut times = Vec::new();
        for nth in 0..101 {
            let begun = hermes_host::clock::now();
            assert!(store.response(&format!("resp_{}", nth * 97 + 1)).await.unwrap().is_some());
            times.push(begun.elapsed());
        }
        times.sort();
        assert!(times[50] < Duration::from_millis(50), "{times:?}");
    }
}
