//! What makes an answer come back to where its event came from, and nowhere else.

use std::collections::BTreeMap;
use std::sync::Arc;

use hermes_wire::ProfileName;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rusqlite::OptionalExtension as _;
use sha2::Sha256;
use tokio::sync::OnceCell;

use crate::store::{Store, StoreError};

/// Where the key is kept, in the owner's own database.
const KEY: &str = "hermes_road_key";
/// Name of the seal among the parameters of an answer.
const SEAL: &str = "seal";

/// The owner's seal. Cloning shares it. Its key is made when it is first needed, and outlives the process.
#[derive(Debug, Clone)]
pub(crate) struct Seal {
    store: Store,
    key: Arc<OnceCell<String>>,
}

impl Seal {
    /// The seal of the profile whose database this is.
    pub(crate) fn new(store: Store) -> Self {
        Self { store, key: Arc::default() }
    }

    /// Adds the seal: with it `profile` may answer on `platform` with these parameters.
    pub(super) async fn set(
        &self,
        profile: &ProfileName,
        platform: &str,
        reply: &mut BTreeMap<String, String>,
    ) -> Result<(), StoreError> {
        reply.remove(SEAL);
        let seal = hex(&self.mac(profile, platform, reply).await?.finalize().into_bytes());
        reply.insert(SEAL.to_owned(), seal);
        Ok(())
    }

    /// Takes the seal off. Whether it was that of `profile` for `platform` and these parameters.
    pub(super) async fn take(
        &self,
        profile: &ProfileName,
        platform: &str,
        reply: &mut BTreeMap<String, String>,
    ) -> Result<bool, StoreError> {
        let Some(given) = reply.remove(SEAL) else { return Ok(false) };
        let Some(given) = unhex(&given) else { return Ok(false) };
        Ok(self.mac(profile, platform, reply).await?.verify_slice(&given).is_ok())
    }

    /// With this `profile` may have the message changed that was sent for it with these parameters.
    pub(super) async fn pass(
        &self,
        profile: &ProfileName,
        platform: &str,
        reply: &BTreeMap<String, String>,
        id: &str,
    ) -> Result<String, StoreError> {
        let mac = self.over(&(profile.as_str(), platform, reply, id)).await?;
        Ok(hex(&mac.finalize().into_bytes()))
    }

    /// Whether that is what it brings.
    pub(super) async fn passes(
        &self,
        profile: &ProfileName,
        platform: &str,
        reply: &BTreeMap<String, String>,
        (id, pass): (&str, &str),
    ) -> Result<bool, StoreError> {
        let Some(pass) = unhex(pass) else { return Ok(false) };
        let mac = self.over(&(profile.as_str(), platform, reply, id)).await?;
        Ok(mac.verify_slice(&pass).is_ok())
    }

    async fn mac(
        &self,
        profile: &ProfileName,
        platform: &str,
        reply: &BTreeMap<String, String>,
    ) -> Result<Hmac<Sha256>, StoreError> {
        self.over(&(profile.as_str(), platform, reply)).await
    }

    async fn over(&self, what: &(impl serde::Serialize + Sync)) -> Result<Hmac<Sha256>, StoreError> {
        let key = self.key.get_or_try_init(|| self.load()).await?;
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
        // One way to write them down, and no two sets of parameters that are written alike.
        mac.update(&serde_json::to_vec(what).expect("texts always serialise"));
        Ok(mac)
    }

    async fn load(&self) -> Result<String, StoreError> {
        self.store
            .write(|db| {
                db.prepare_cached(
                    "INSERT INTO state_meta(key, value) VALUES (?1, lower(hex(randomblob(32)))) ON CONFLICT DO NOTHING",
                )?
                .execute([KEY])?;
                let key = db
                    .prepare_cached("SELECT value FROM state_meta WHERE key = ?1")?
                    .query_row([KEY], |row| row.get::<_, String>(0))
                    .optional()?;
                key.ok_or(rusqlite::Error::QueryReturnedNoRows)
            })
            .await
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || text.len() != 64 {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use hermes_wire::ProfileHome;

    use super::*;
    use crate::store::Owner;

    #[tokio::test]
    async fn an_answer_goes_only_where_it_was_sealed_for() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
        let store = Store::open(&home, Owner::current()).unwrap();
        let seal = Seal::new(store.clone());
        let (coder, ops): (ProfileName, ProfileName) = ("coder".parse().unwrap(), "ops".parse().unwrap());
        let params = |chat: &str| BTreeMap::from([("chat_id".to_owned(), chat.to_owned())]);
        let mut sealed = params("1");
        seal.set(&coder, "telegram", &mut sealed).await.unwrap();
        // As after a restart.
        let seal = Seal::new(store.clone());
        let good = |profile: ProfileName, platform: &'static str, reply: BTreeMap<String, String>| {
            let seal = seal.clone();
            async move {
                let mut reply = reply;
                (seal.take(&profile, platform, &mut reply).await.unwrap(), reply)
            }
        };
        assert_eq!(good(coder.clone(), "telegram", sealed.clone()).await, (true, params("1")));
        assert!(!good(ops, "telegram", sealed.clone()).await.0);
        assert!(!good(coder.clone(), "discord", sealed.clone()).await.0);
        let mut elsewhere = sealed.clone();
        elsewhere.insert("chat_id".to_owned(), "2".to_owned());
        assert!(!good(coder.clone(), "telegram", elsewhere).await.0);
        assert!(!good(coder.clone(), "telegram", params("1")).await.0);
        for odd in ["", "zz", "é", &"0".repeat(64)] {
            let mut forged = params("1");
            forged.insert(SEAL.to_owned(), odd.to_owned());
            assert!(!good(coder.clone(), "telegram", forged).await.0, "{odd}");
        }
        let pass = seal.pass(&coder, "telegram", &params("1"), "55").await.unwrap();
        let ops: ProfileName = "ops".parse().unwrap();
        for (profile, chat, id, expected) in [
            (&coder, "1", "55", true),
            (&coder, "1", "56", false),
            (&coder, "2", "55", false),
            (&ops, "1", "55", false),
        ] {
            let passes = seal.passes(profile, "telegram", &params(chat), (id, &pass)).await.unwrap();
            assert_eq!(passes, expected, "{profile} {chat} {id}");
        }
        store.close().await;
    }
}
