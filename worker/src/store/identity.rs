//! Whose database this is: recorded in it, so that a home that was renamed or moved takes its sessions along.
//!
//! The name is a row of `state_meta`, which 0.19.0 leaves alone. Where it differs from the name the home has now, every session
//! key and scope of the old name becomes one of the new name, in one transaction with the record, and what says whose a session is or
//! whose bot received it says the new name. Keys of the namespace `main`, which a gateway for this profile alone has used, stay what
//! they are.

use camino::Utf8Path;
use hermes_wire::{ProfileName, session_key};
use rusqlite::{Connection, OptionalExtension as _, params};

/// Key of the row.
const RECORD: &str = "hermes_profile";

/// The name that a home has by its place: `<root>/profiles/<name>`, or any other place for `default`.
fn name_of(home: &Utf8Path) -> ProfileName {
    let inside = home.parent().is_some_and(|dir| dir.file_name() == Some("profiles"));
    let name = home.file_name().filter(|_| inside).and_then(|name| name.parse().ok());
    name.unwrap_or_else(ProfileName::default_profile)
}

/// Records the name, after moving everything that belongs to another one.
pub(super) fn settle(db: &Connection, home: &Utf8Path) -> rusqlite::Result<()> {
    let name = name_of(home);
    let recorded: Option<String> =
        db.query_row("SELECT value FROM state_meta WHERE key = ?1", [RECORD], |row| row.get(0)).optional()?;
    if recorded.as_deref() == Some(name.as_str()) {
        return Ok(());
    }
    db.execute_batch("BEGIN IMMEDIATE")?;
    let done = (|| {
        if let Some(Ok(old)) = recorded.map(|old| old.parse::<ProfileName>())
            && !old.is_default()
            && !name.is_default()
        {
            rename(db, home, &old, &name)?;
        }
        db.execute(
            "INSERT OR REPLACE INTO state_meta(key, value) VALUES (?1, ?2)",
            params![RECORD, name.as_str()],
        )?;
        db.execute_batch("COMMIT")
    })();
    if done.is_err() {
        let _ = db.execute_batch("ROLLBACK");
    }
    done
}

fn rename(db: &Connection, home: &Utf8Path, old: &ProfileName, new: &ProfileName) -> rusqlite::Result<()> {
    let prefix = |name: &ProfileName| format!("agent:{}:", session_key::namespace(name));
    let (from, to) = (prefix(old), prefix(new));
    // The routing entry repeats its key within its text.
    db.execute(
        "UPDATE gateway_routing SET entry_json = json_set(entry_json, '$.session_key', ?2 || substr(session_key, ?3))
         WHERE substr(session_key, 1, ?3 - 1) = ?1 AND json_valid(entry_json)
           AND json_extract(entry_json, '$.session_key') IS NOT NULL",
        params![from, to, length(&from)],
    )?;
    for table in tables_with_keys(db)? {
        let sql = format!(
            "UPDATE OR REPLACE \"{table}\" SET session_key = ?2 || substr(session_key, ?3)
             WHERE substr(session_key, 1, ?3 - 1) = ?1"
        );
        db.execute(&sql, params![from, to, length(&from)])?;
    }
    for column in columns_with_names(db)? {
        db.execute(
            &format!("UPDATE sessions SET {column} = ?2 WHERE {column} = ?1"),
            [old.as_str(), new.as_str()],
        )?;
    }
    db.execute(
        "UPDATE gateway_routing SET entry_json = json_set(entry_json, '$.transport_profile', ?2)
         WHERE json_valid(entry_json) AND json_extract(entry_json, '$.transport_profile') = ?1",
        [old.as_str(), new.as_str()],
    )?;
    // Scopes: our name, and 0.19.0's path of the sessions.
    let real = home.canonicalize_utf8().unwrap_or_else(|_| home.to_owned());
    let sessions = |home: &Utf8Path| home.join("sessions").into_string();
    for (from, to) in
        [(old.to_string(), new.to_string()), (sessions(&real.with_file_name(old.as_str())), sessions(&real))]
    {
        db.execute("UPDATE OR REPLACE gateway_routing SET scope = ?2 WHERE scope = ?1", [from, to])?;
    }
    Ok(())
}

/// 1-based place behind a prefix.
fn length(prefix: &str) -> i64 {
    i64::try_from(prefix.len()).unwrap_or(i64::MAX) + 1
}

fn tables_with_keys(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut select = db.prepare(
        "SELECT m.name FROM sqlite_schema m JOIN pragma_table_info(m.name) c
         WHERE m.type = 'table' AND m.rootpage <> 0 AND c.name = 'session_key' AND m.name NOT LIKE 'messages_fts%'",
    )?;
    select.query_map([], |row| row.get(0))?.collect()
}

/// Columns of sessions that name profiles; the second is of newer files.
fn columns_with_names(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut select = db.prepare(
        "SELECT name FROM pragma_table_info('sessions') WHERE name IN ('profile_name', 'transport_profile')",
    )?;
    select.query_map([], |row| row.get(0))?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(dir: &tempfile::TempDir, name: &str) -> camino::Utf8PathBuf {
        let path = camino::Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap();
        let home = path.join("profiles").join(name);
        fs_err::create_dir_all(&home).unwrap();
        home
    }

    fn open(home: &Utf8Path) -> Connection {
        let db = super::super::schema::open(&home.join("state.db")).unwrap();
        settle(&db, home).unwrap();
        db
    }

    #[test]
    fn a_moved_home_takes_its_sessions_along() {
        let dir = tempfile::tempdir().unwrap();
        let old = home(&dir, "coder");
        let db = open(&old);
        let upstream = old.join("sessions").into_string();
        db.execute_batch(&format!(
            "INSERT INTO sessions(id, source, session_key, started_at) VALUES ('s1', 'x', 'agent:coder:webhook:dm:1', 1), ('s2', 'x', 'agent:main:webhook:dm:1', 1), ('s3', 'x', 'agent:coder2:webhook:dm:1', 1);
             INSERT INTO gateway_routing(scope, session_key, entry_json, updated_at) VALUES
               ('coder', 'agent:coder:webhook:dm:1', '{{\"session_key\":\"agent:coder:webhook:dm:1\",\"session_id\":\"s1\"}}', 1),
               ('{upstream}', 'agent:coder:webhook:dm:1', 'broken', 1);"
        ))
        .unwrap();
        drop(db);
        let new = old.with_file_name("dev");
        fs_err::rename(&old, &new).unwrap();
        for _ in 0..2 {
            let db = open(&new);
            let keys: Vec<String> = db
                .prepare("SELECT session_key FROM sessions ORDER BY id")
                .unwrap()
                .query_map([], |row| row.get(0))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            assert_eq!(
                keys,
                ["agent:dev:webhook:dm:1", "agent:main:webhook:dm:1", "agent:coder2:webhook:dm:1"]
            );
            let rows: Vec<(String, String, String)> = db
                .prepare("SELECT scope, session_key, entry_json FROM gateway_routing ORDER BY length(scope)")
                .unwrap()
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            assert_eq!(rows[0].0, "dev");
            assert_eq!(rows[0].2, "{\"session_key\":\"agent:dev:webhook:dm:1\",\"session_id\":\"s1\"}");
            assert_eq!(
                (rows[1].0.as_str(), rows[1].1.as_str(), rows[1].2.as_str()),
                (new.join("sessions").as_str(), "agent:dev:webhook:dm:1", "broken")
            );
        }
    }

    #[test]
    fn sessions_of_a_moved_home_say_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let old = home(&dir, "coder");
        let db = open(&old);
        db.execute_batch(
            r#"ALTER TABLE sessions ADD COLUMN transport_profile TEXT;
             INSERT INTO sessions(id, source, started_at, profile_name, transport_profile) VALUES
               ('a', 'x', 1, 'coder', 'coder'), ('b', 'x', 1, 'coder', 'default'), ('c', 'x', 1, NULL, NULL);
             INSERT INTO gateway_routing(scope, session_key, entry_json, updated_at) VALUES
               ('coder', 'k', '{"transport_profile":"coder","n":1}', 1), ('coder', 'l', '{"transport_profile":"default"}', 1);"#,
        )
        .unwrap();
        drop(db);
        let new = old.with_file_name("dev");
        fs_err::rename(&old, &new).unwrap();
        let db = open(&new);
        let all = |sql: &str| db.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
        assert_eq!(
            all("SELECT json_group_array(json_array(id, profile_name, transport_profile)) FROM sessions"),
            r#"[["a","dev","dev"],["b","dev","default"],["c",null,null]]"#
        );
        assert_eq!(
            all("SELECT group_concat(entry_json, ' ') FROM gateway_routing"),
            r#"{"transport_profile":"dev","n":1} {"transport_profile":"default"}"#
        );
    }

    #[test]
    fn the_built_in_profile_is_anywhere_else() {
        assert!(name_of(Utf8Path::new("/srv/hermes")).is_default());
        assert_eq!(name_of(Utf8Path::new("/h/profiles/coder")).as_str(), "coder");
        assert!(name_of(Utf8Path::new("/h/profiles/Not.A.Name")).is_default());
    }
}
