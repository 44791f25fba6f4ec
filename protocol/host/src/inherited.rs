//! What a home of the Python program may hold that nobody here runs: named, counted, never changed.
//!
//! Whoever checks a home and whoever serves it look at it here, so that both say the same. What cannot be looked at is said to
//! be so, with the system's words.

use std::io::ErrorKind;

use camino::Utf8Path;

use crate::database::{LookError, look_into};

/// What is in a directory, sorted, hidden entries aside; nothing where there is none.
pub fn names(dir: &Utf8Path) -> Result<Vec<String>, String> {
    let entries = match dir.read_dir_utf8() {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e.to_string()),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(|e| e.to_string())?.file_name().to_owned());
    }
    names.retain(|name| !name.starts_with('.') && name != "__pycache__");
    names.sort();
    Ok(names)
}

/// Every Kanban board with the number of its open cards: the first one's database is `first`, the others have directories below
/// `dir`.
pub fn boards(first: &Utf8Path, dir: &Utf8Path) -> Vec<(String, Result<u64, String>)> {
    let mut all = Vec::new();
    all.extend(open_cards(first).map(|cards| ("default".to_owned(), cards)));
    match names(dir) {
        Ok(names) => {
            let of = |name: String| open_cards(&dir.join(&name).join("kanban.db")).map(|cards| (name, cards));
            all.extend(names.into_iter().filter_map(of));
        }
        Err(why) => all.push(("boards".to_owned(), Err(why))),
    }
    all
}

/// How many cards are not done; nothing where there is no board.
fn open_cards(path: &Utf8Path) -> Option<Result<u64, String>> {
    match fs_err::metadata(path) {
        Ok(found) if found.len() == 0 => return None,
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => return None,
        Err(e) => return Some(Err(e.to_string())),
    }
    let count = || -> Result<i64, LookError> {
        let query = "SELECT count(*) FROM tasks WHERE status NOT IN ('done', 'archived')";
        Ok(look_into(path)?.query_row(query, [], |row| row.get(0))?)
    };
    Some(count().map(|n| u64::try_from(n).unwrap_or(0)).map_err(|e| e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(path: &Utf8Path, states: &[&str]) {
        fs_err::create_dir_all(path.parent().expect("it has one")).expect("a directory");
        let db = rusqlite::Connection::open(path).expect("a database");
        db.execute("CREATE TABLE tasks (status TEXT)", []).expect("a table");
        for state in states {
            db.execute("INSERT INTO tasks VALUES (?1)", [state]).expect("a card");
        }
    }

    /// 4: boards are counted without leaving anything beside them, and one that cannot be read is no empty one.
    #[test]
    fn boards_are_counted_and_left_as_they_are() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = Utf8Path::from_path(dir.path()).expect("UTF-8");
        let (first, others) = (home.join("kanban.db"), home.join("kanban/boards"));
        assert_eq!(boards(&first, &others), []);
        board(&first, &["todo", "done", "doing", "archived"]);
        board(&others.join("a?b#c%d/kanban.db"), &["todo"]);
        fs_err::create_dir_all(others.join(".hidden")).expect("a directory");
        fs_err::create_dir_all(others.join("empty")).expect("a directory");
        fs_err::create_dir_all(others.join("odd")).expect("a directory");
        fs_err::write(others.join("odd/kanban.db"), "no database at all, however long this is")
            .expect("a file");
        let found = boards(&first, &others);
        assert_eq!(found[..2], [("default".to_owned(), Ok(2)), ("a?b#c%d".to_owned(), Ok(1))]);
        assert!(found.len() == 3 && found[2].0 == "odd" && found[2].1.is_err(), "{found:?}");
        assert_eq!(names(&others.join("odd")), Ok(vec!["kanban.db".to_owned()]));
        fs_err::os::unix::fs::symlink(home.join("loop"), home.join("loop")).expect("a link");
        assert!(names(&home.join("loop")).is_err());
        assert!(boards(&home.join("none"), &home.join("loop"))[0].1.is_err());
    }
}
