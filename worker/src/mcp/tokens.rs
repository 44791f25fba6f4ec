//! What a login gave: `mcp-tokens/<server>.json` and, beside it, as which client (`<server>.client.json`), in the shape that 0.19.0
//! and later have. Mode 0600, written whole or not at all.
//!
//! A token that renews another is good once, and several processes may want to: two generations of a worker, a command. Whoever does holds the
//! lock on `<server>.lock` from the reading to the writing, so each finds what the one before it got.

use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::disk;
use hermes_wire::ProfileHome;
use hermes_wire::absence::OrAbsent as _;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use rmcp::transport::auth::{
    AuthError, CredentialRefreshGuard, CredentialStore, OAuthTokenResponse, StoredCredentials,
};
use serde_json::{Map, Value};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

/// Largest file that is read, in bytes.
const MOST: usize = 256 * 1024;
/// Keys beside those of the answer itself: when it ends, in seconds since 1970, and who gave it.
const EXPIRES_AT: &str = "expires_at";
const ISSUER: &str = "hermes_issuer";

/// Longest wait for another process that renews them: two of its requests at their slowest.
const LONGEST: Duration = Duration::from_secs(75);
/// Between two looks at whether it is done.
const LOOK: Duration = Duration::from_millis(50);

/// The file of a server's tokens.
pub(super) fn file(home: &ProfileHome, server: &str) -> Utf8PathBuf {
    home.path().join("mcp-tokens").join(format!("{}.json", stem(server)))
}

/// A server's name as that of a file.
fn stem(server: &str) -> String {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let stem: String = server.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    stem.trim_start_matches('.').to_owned()
}

/// The tokens of one server. Cloning shares the lock on them.
#[derive(Debug, Clone)]
pub(super) struct Tokens {
    file: Utf8PathBuf,
    refreshing: Arc<Mutex<()>>,
}

/// Why tokens cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokensError {
    #[error("`{0}` cannot be read: {1}")]
    Read(Utf8PathBuf, #[source] io::Error),
    #[error("`{0}` cannot be written: {1}")]
    Write(Utf8PathBuf, #[source] io::Error),
    #[error("`{0}` is not what a login writes; log in again")]
    Odd(Utf8PathBuf),
    #[error("`{0}` cannot be locked: {1}")]
    Lock(Utf8PathBuf, #[source] io::Error),
    #[error("`{0}` is held by another process that renews them, and does not end")]
    Busy(Utf8PathBuf),
}

/// Nobody else renews the tokens of a server while it lives, in this process or another.
#[derive(Debug)]
pub(super) struct Alone {
    _here: OwnedMutexGuard<()>,
    _everywhere: Flock<std::fs::File>,
}

impl From<TokensError> for AuthError {
    fn from(error: TokensError) -> Self {
        Self::CredentialStoreError(error.to_string())
    }
}

impl Tokens {
    pub(super) fn of(home: &ProfileHome, server: &str) -> Self {
        Self { file: file(home, server), refreshing: Arc::default() }
    }

    fn client_file(&self) -> Utf8PathBuf {
        self.file.with_extension("client.json")
    }

    pub(super) fn lock_file(&self) -> Utf8PathBuf {
        self.file.with_extension("lock")
    }

    /// Waits until nobody else renews them.
    pub(super) async fn alone(&self) -> Result<Alone, TokensError> {
        let here = Arc::clone(&self.refreshing).lock_owned().await;
        let path = self.lock_file();
        let until = Instant::now() + LONGEST;
        loop {
            match try_lock(&path).map_err(|error| TokensError::Lock(path.clone(), error))? {
                Some(everywhere) => return Ok(Alone { _here: here, _everywhere: everywhere }),
                None if Instant::now() >= until => return Err(TokensError::Busy(path)),
                None => tokio::time::sleep(LOOK).await,
            }
        }
    }

    fn object(file: &Utf8Path) -> Result<Option<Map<String, Value>>, TokensError> {
        let bytes =
            disk::read_bounded(file, MOST).or_absent().map_err(|e| TokensError::Read(file.to_owned(), e))?;
        let Some(bytes) = bytes else { return Ok(None) };
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(object)) => Ok(Some(object)),
            _ => Err(TokensError::Odd(file.to_owned())),
        }
    }

    /// What there is.
    pub(super) fn read(&self) -> Result<Option<StoredCredentials>, TokensError> {
        let Some(mut object) = Self::object(&self.file)? else { return Ok(None) };
        let client = Self::object(&self.client_file())?.unwrap_or_default();
        let id = client.get("client_id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let expires_at = object.remove(EXPIRES_AT).and_then(|at| at.as_f64());
        let issuer = object.remove(ISSUER).and_then(|issuer| Some(issuer.as_str()?.to_owned()));
        // `null` says nothing.
        object.retain(|_, value| !value.is_null());
        if let Some(Value::String(kind)) = object.get_mut("token_type") {
            kind.make_ascii_lowercase();
        }
        let lasts = object.get("expires_in").and_then(Value::as_u64);
        let answer: OAuthTokenResponse =
            serde_json::from_value(Value::Object(object)).map_err(|_| TokensError::Odd(self.file.clone()))?;
        let received = match (expires_at, lasts) {
            (Some(at), Some(lasts)) => Some(whole(at).saturating_sub(lasts)),
            (None, Some(_)) => self.modified(),
            _ => None,
        };
        let scopes = scopes(&answer);
        Ok(Some(StoredCredentials::new(id, Some(answer), scopes, received).with_issuer(issuer)))
    }

    fn modified(&self) -> Option<u64> {
        let modified = fs_err::metadata(&self.file).ok()?.modified().ok()?;
        Some(modified.duration_since(UNIX_EPOCH).ok()?.as_secs())
    }

    fn write(&self, credentials: &StoredCredentials) -> Result<(), TokensError> {
        let odd = || TokensError::Odd(self.file.clone());
        let Some(answer) = &credentials.token_response else { return self.remove() };
        let Ok(Value::Object(mut object)) = serde_json::to_value(answer) else { return Err(odd()) };
        if let (Some(received), Some(lasts)) =
            (credentials.token_received_at, object.get("expires_in").and_then(Value::as_u64))
        {
            object.insert(EXPIRES_AT.to_owned(), received.saturating_add(lasts).into());
        }
        if let Some(issuer) = &credentials.issuer {
            object.insert(ISSUER.to_owned(), issuer.as_str().into());
        }
        let client_file = self.client_file();
        let mut client = Self::object(&client_file).ok().flatten().unwrap_or_default();
        client.insert("client_id".to_owned(), credentials.client_id.as_str().into());
        Self::put(&client_file, &Value::Object(client))?;
        Self::put(&self.file, &Value::Object(object))
    }

    fn put(file: &Utf8Path, value: &Value) -> Result<(), TokensError> {
        let wrong = |error| TokensError::Write(file.to_owned(), error);
        if let Some(dir) = file.parent() {
            hermes_host::file::make_dirs(dir, 0o700).map_err(wrong)?;
        }
        hermes_host::file::write_atomic(file, format!("{value:#}\n").as_bytes(), 0o600, true).map_err(wrong)
    }

    fn remove(&self) -> Result<(), TokensError> {
        match fs_err::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(TokensError::Write(self.file.clone(), error))
            }
            _ => Ok(()),
        }
    }
}

/// The lock, if nobody has it. Short: two calls on a file of this home.
fn try_lock(path: &Utf8Path) -> io::Result<Option<Flock<std::fs::File>>> {
    if let Some(dir) = path.parent() {
        hermes_host::file::make_dirs(dir, 0o700)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK);
    let file = disk::open_or_create(path, &options)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EAGAIN | Errno::EINTR)) => Ok(None),
        Err((_, error)) => Err(error.into()),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time, cut to the range")]
fn whole(seconds: f64) -> u64 {
    seconds.clamp(0.0, 1e15) as u64
}

fn scopes(answer: &OAuthTokenResponse) -> Vec<String> {
    let text = serde_json::to_value(answer).ok();
    let text =
        text.as_ref().and_then(|answer| answer.get("scope")).and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

#[async_trait::async_trait]
impl CredentialStore for Tokens {
    async fn load(&self) -> Result<Option<StoredCredentials>, AuthError> {
        Ok(self.read()?)
    }

    async fn save(&self, credentials: StoredCredentials) -> Result<(), AuthError> {
        Ok(self.write(&credentials)?)
    }

    async fn clear(&self) -> Result<(), AuthError> {
        Ok(self.remove()?)
    }

    async fn acquire_refresh_guard(&self) -> Result<Option<CredentialRefreshGuard>, AuthError> {
        Ok(Some(CredentialRefreshGuard::new(self.alone().await?)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_a_login_gave_is_kept_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(Utf8Path::from_path(dir.path()).unwrap());
        let tokens = Tokens::of(&home, "@scope/server");
        assert!(tokens.read().unwrap().is_none());
        let answer: OAuthTokenResponse = serde_json::from_str(
            r#"{"access_token": "a", "token_type": "bearer", "expires_in": 3600, "refresh_token": "r", "scope": "x y"}"#,
        )
        .unwrap();
        let kept = StoredCredentials::new("id".into(), Some(answer), vec![], Some(1000))
            .with_issuer(Some("https://i".into()));
        tokens.write(&kept).unwrap();
        let file = home.path().join("mcp-tokens/_scope_server.json");
        let mode = |path: &Utf8Path| fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        let text: Value = serde_json::from_slice(&fs_err::read(&file).unwrap()).unwrap();
        assert_eq!((&text["expires_at"], &text["hermes_issuer"]), (&4600.into(), &"https://i".into()));
        let read = tokens.read().unwrap().unwrap();
        assert_eq!((read.client_id.as_str(), read.token_received_at), ("id", Some(1000)));
        assert_eq!(read.granted_scopes, ["x", "y"]);
        assert!(!format!("{read:?}").contains("\"a\""));
    }

    /// Two handles are as good as two processes: the lock belongs to the open file.
    #[tokio::test]
    async fn one_at_a_time_renews() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(Utf8Path::from_path(dir.path()).unwrap());
        let (one, other) = (Tokens::of(&home, "s"), Tokens::of(&home, "s"));
        let held = one.alone().await.unwrap();
        let mode = fs_err::metadata(one.lock_file()).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let waiting = other.alone();
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(LOOK * 3, &mut waiting).await.is_err());
        drop(held);
        drop(waiting.await.unwrap());
        // A link is nobody's lock.
        fs_err::remove_file(one.lock_file()).unwrap();
        std::os::unix::fs::symlink("/dev/null", one.lock_file()).unwrap();
        assert!(matches!(one.alone().await, Err(TokensError::Lock(..))));
    }

    #[test]
    fn files_of_the_python_program_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(Utf8Path::from_path(dir.path()).unwrap());
        let tokens = Tokens::of(&home, "s");
        fs_err::create_dir(home.path().join("mcp-tokens")).unwrap();
        let text = r#"{"access_token": "a", "token_type": "Bearer", "expires_in": 60, "scope": null, "refresh_token": "r", "expires_at": 1060.5}"#;
        fs_err::write(home.path().join("mcp-tokens/s.json"), text).unwrap();
        fs_err::write(
            home.path().join("mcp-tokens/s.client.json"),
            r#"{"client_id": "c", "redirect_uris": []}"#,
        )
        .unwrap();
        let read = tokens.read().unwrap().unwrap();
        assert_eq!((read.client_id.as_str(), read.token_received_at), ("c", Some(1000)));
        fs_err::write(home.path().join("mcp-tokens/s.json"), "[]").unwrap();
        assert!(tokens.read().is_err(), "what is odd is not missing");
    }
}
