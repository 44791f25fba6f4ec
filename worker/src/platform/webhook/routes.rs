//! Which routes there are: those of the configuration, and those made by command.
//!
//! `webhook_subscriptions.json` is read again when its time, size or inode changed. A route of the configuration wins over one
//! of the file; a file that cannot be understood changes nothing. A route keeps its rate window for as long as it lives.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use camino::Utf8PathBuf;
use hermes_config::{Secret, is_loopback};
use hermes_host::clock;
use hermes_wire::latest::BoundListener;
use hermes_wire::{ProfileHome, ProfileName};
use serde_json::{Map, Value};

use super::filter::{self, Filter};
use super::rate::Window;
use super::settings::{NO_AUTH, Route, Scheme};
use crate::platform::Down;

/// Largest subscription file that is read.
const MAX_FILE_LEN: u64 = 4 * 1024 * 1024;

/// A route, ready to judge requests.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) route: Route,
    pub(super) auth: Auth,
    /// The vendor whose signatures it takes; without one the headers tell.
    pub(super) scheme: Option<Scheme>,
    pub(super) filters: Vec<Filter>,
    pub(super) window: Mutex<Window>,
    /// The deprecated signature was used and reported.
    pub(super) warned_v1: AtomicBool,
}

/// How a route knows its senders.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Auth {
    Secret(Secret),
    /// Anybody; reachable from this machine only.
    Open,
    /// Nobody.
    Missing,
}

/// What all routes of a profile share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Secret of routes without their own.
    secret: Option<Secret>,
    profile: ProfileName,
    home: ProfileHome,
    /// The host that loopback-only rules look at: of the listener that is reachable from farthest away. `None` = all
    /// interfaces, which is also assumed where no listener is known.
    host: Option<String>,
}

/// Identity of a version of a file.
type Stamp = (i64, i64, u64, u64);

#[derive(Debug, Default)]
struct Dynamic {
    stamp: Option<Stamp>,
    routes: HashMap<String, Arc<Ready>>,
}

/// All routes of one profile.
#[derive(Debug)]
pub(super) struct Routes {
    shared: Shared,
    fixed: HashMap<String, Arc<Ready>>,
    file: Utf8PathBuf,
    dynamic: RwLock<Dynamic>,
}

impl Shared {
    pub(super) fn new(
        secret: Option<Secret>,
        profile: ProfileName,
        home: ProfileHome,
        listeners: &[BoundListener],
    ) -> Self {
        let hosts = || {
            let serving =
                listeners.iter().filter(|listener| listener.platforms.iter().any(|p| p == "webhook"));
            serving.map(|listener| listener.host.as_deref())
        };
        let exposed = hosts().find(|host| !host.is_some_and(is_loopback));
        let host = exposed.or_else(|| hosts().next()).flatten().map(str::to_owned);
        Self { secret: secret.filter(|s| !s.is_empty()), profile, home, host }
    }

    fn ready(&self, name: &str, route: Route) -> Ready {
        let filters = filter::compile(&route.filters, self.home.path(), &mut |problem| {
            tracing::warn!(route = name, "[webhook] Route '{name}': {problem}");
        });
        Ready {
            auth: match self.resolved(route.clone()).secret {
                Some(secret) if secret.expose() == NO_AUTH => Auth::Open,
                Some(secret) if !secret.expose().trim().is_empty() => Auth::Secret(secret),
                Some(_) | None => Auth::Missing,
            },
            scheme: route.signature.as_deref().and_then(Scheme::named),
            filters,
            window: Mutex::new(Window::new(clock::now())),
            warned_v1: AtomicBool::new(false),
            route,
        }
    }

    /// Why a route must not be served.
    fn refuse(&self, name: &str, route: &Route) -> Option<Down> {
        let message = self.resolved(route.clone()).refusal(name, self.host.as_deref())?;
        Some(Down::fatal("webhook_route", message))
    }

    /// The route with the secret that holds for it. An empty one of its own stays what it is.
    fn resolved(&self, mut route: Route) -> Route {
        route.secret = route.secret.or_else(|| self.secret.clone());
        route
    }
}

impl Routes {
    /// Checks the configured routes and reads the file once. The first route that must not be served stops the platform.
    pub(super) fn new(shared: Shared, configured: &[(String, Route)]) -> Result<Self, Down> {
        if let Some(error) = configured.iter().find_map(|(name, route)| shared.refuse(name, route)) {
            return Err(error);
        }
        let fixed = configured
            .iter()
            .map(|(name, route)| (name.clone(), Arc::new(shared.ready(name, route.clone()))));
        let routes = Self {
            fixed: fixed.collect(),
            file: shared.home.webhook_subscriptions(),
            dynamic: RwLock::default(),
            shared,
        };
        routes.reload_if_changed();
        Ok(routes)
    }

    /// The route of a name, as the files say now.
    pub(super) fn get(&self, name: &str) -> Option<Arc<Ready>> {
        self.reload_if_changed();
        if let Some(route) = self.fixed.get(name) {
            return Some(Arc::clone(route));
        }
        self.dynamic.read().unwrap_or_else(PoisonError::into_inner).routes.get(name).map(Arc::clone)
    }

    fn reload_if_changed(&self) {
        let stamp = match fs_err::metadata(&self.file) {
            Ok(m) => m.is_file().then(|| (m.mtime(), m.mtime_nsec(), m.size(), m.ino())),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
            // Not to be had for now is not gone: what was known stays.
            Err(_) => return,
        };
        if self.dynamic.read().unwrap_or_else(PoisonError::into_inner).stamp == stamp {
            return;
        }
        let mut dynamic = self.dynamic.write().unwrap_or_else(PoisonError::into_inner);
        if stamp.is_none() {
            dynamic.stamp = stamp;
            dynamic.routes.clear();
            return;
        }
        // A file that cannot be read is tried again at the next request, one that is wrong when it changes.
        let content = match self.read() {
            Ok(bytes) => {
                dynamic.stamp = stamp;
                Self::parse(&bytes)
            }
            Err(error) => Err(error.to_string()),
        };
        match content {
            Ok(found) => dynamic.routes = self.merge(found, &dynamic.routes),
            Err(reason) => tracing::warn!(
                file = %self.file,
                "[webhook] the subscription file is left aside, its last good routes stay in force: {reason}"
            ),
        }
    }

    fn read(&self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        fs_err::File::open(&self.file)?.take(MAX_FILE_LEN + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn parse(bytes: &[u8]) -> Result<Map<String, Value>, String> {
        if bytes.len() as u64 > MAX_FILE_LEN {
            return Err(format!("it has more than {MAX_FILE_LEN} bytes"));
        }
        match crate::json::parse(bytes) {
            Ok(Value::Object(routes)) => Ok(routes),
            Ok(_) => Err("it is not a JSON object".to_owned()),
            // The text of a JSON error names a place, never a value.
            Err(error) => Err(error.to_string()),
        }
    }

    fn merge(
        &self,
        found: Map<String, Value>,
        old: &HashMap<String, Arc<Ready>>,
    ) -> HashMap<String, Arc<Ready>> {
        let mut routes = HashMap::with_capacity(found.len());
        for (name, entry) in found {
            if self.fixed.contains_key(&name) {
                continue;
            }
            if entry.get("cron_job").is_some_and(|job| !job.is_null()) {
                tracing::warn!(
                    route = name,
                    "[webhook] Subscription '{name}' starts a scheduled job, which this version does not have; it is not served"
                );
                continue;
            }
            let Some(route) = parse_route(entry) else {
                tracing::warn!(route = name, "[webhook] Subscription '{name}' is malformed and not served");
                continue;
            };
            if route.profile.as_deref().is_some_and(|profile| profile != self.shared.profile.as_str()) {
                continue;
            }
            if let Some(error) = self.shared.refuse(&name, &route) {
                tracing::warn!(route = name, "{} It is not served.", error.message);
                continue;
            }
            let ready = match old.get(&name) {
                Some(same) if same.route == route => Arc::clone(same),
                _ => Arc::new(self.shared.ready(&name, route)),
            };
            routes.insert(name, ready);
        }
        routes
    }
}

/// An entry of the file. Existing files spell some values more freely than [`Route`] does.
fn parse_route(mut entry: Value) -> Option<Route> {
    let fields = entry.as_object_mut()?;
    fields.retain(|_, value| !value.is_null());
    if let Some(Value::String(name)) = fields.get_mut("signature") {
        *name = name.trim().to_ascii_lowercase();
    }
    if let Some(filters) = fields.get_mut("filters").filter(|f| f.is_object()) {
        *filters = Value::Array(vec![filters.take()]);
    }
    if let Some(extra) = fields.get_mut("deliver_extra").and_then(Value::as_object_mut) {
        for value in extra.values_mut().filter(|v| !v.is_string()) {
            *value = Value::String(value.to_string());
        }
    }
    serde_json::from_value(entry).ok()
}
