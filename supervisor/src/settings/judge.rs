//! What a start would say about a profile's two files, without starting anything.

use camino::{Utf8Path, Utf8PathBuf};
use hermes_protocol::config::{self, Input, Loaded, MAX_FILE_LEN, Pins};
use hermes_protocol::latest::{BoundListener, GatewaySettings, ListenerSetting, Role};
use hermes_protocol::{ProfileHome, ProfileName, RootHome};

use super::error::SettingsError;
use super::file::bytes;
use crate::disk;

/// An administrator's two files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pinned {
    dir: Utf8PathBuf,
    yaml: Option<Vec<u8>>,
    env: Option<Vec<u8>>,
}

impl Pinned {
    pub(crate) fn read(dir: &Utf8Path) -> Result<Self, SettingsError> {
        let (yaml, env) = (bytes(&dir.join("config.yaml"))?, bytes(&dir.join(".env"))?);
        Ok(Self { dir: dir.to_owned(), yaml, env })
    }

    pub(crate) fn pins(&self) -> Option<Pins<'_>> {
        let any = self.yaml.is_some() || self.env.is_some();
        any.then(|| Pins { dir: &self.dir, yaml: self.yaml.as_deref(), env: self.env.as_deref() })
    }
}

/// The part a profile plays: with multiplexing, one beside the default profile.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    role: Role,
    listeners: Vec<BoundListener>,
    pinned: Pinned,
}

impl Part {
    /// Whether it is the gateway's own, with listeners.
    pub(crate) fn is_primary(&self) -> bool {
        self.role == Role::Primary
    }

    /// As the default profile's files have it now, below what an administrator pinned.
    pub(crate) fn of(root: &RootHome, profile: &ProfileName, pinned: Pinned) -> Self {
        let alone = Self { role: Role::Primary, listeners: Vec::new(), pinned };
        if profile.is_default() {
            return alone;
        }
        let name = ProfileName::default_profile();
        let home = root.profile(&name);
        let bytes = |path| disk::read_bounded(path, MAX_FILE_LEN + 1).ok();
        let (yaml, env) = (bytes(&home.config()), bytes(&home.env_file()));
        let loaded = alone.load(&name, &home, yaml.as_deref(), env.as_deref());
        let settings = loaded.config.and_then(|config| config.gateway).filter(|settings| settings.multiplex);
        match settings {
            Some(settings) => Self { role: Role::Secondary, listeners: listeners(&settings), ..alone },
            None => alone,
        }
    }

    /// What a start would make of these bytes.
    pub(crate) fn load(
        &self,
        profile: &ProfileName,
        home: &ProfileHome,
        yaml: Option<&[u8]>,
        env: Option<&[u8]>,
    ) -> Loaded {
        let input =
            Input { profile, role: self.role, multiplex: None, listeners: &self.listeners, home, yaml, env };
        config::load_pinned(input, self.pinned.pins())
    }
}

/// The listeners a gateway with these settings would have.
pub(crate) fn listeners(settings: &GatewaySettings) -> Vec<BoundListener> {
    let bound = |setting: &ListenerSetting| BoundListener {
        address: format!("{}:{}", setting.host.as_deref().unwrap_or("0.0.0.0"), setting.port),
        host: setting.host.clone(),
        platforms: vec![setting.platform.clone()],
    };
    settings.listeners.iter().map(bound).collect()
}
