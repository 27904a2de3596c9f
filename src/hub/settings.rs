//! What the environment says about the hub, read as Python's `huggingface_hub` reads it.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use crate::error::{Error, Result};

/// The hub itself; `HF_ENDPOINT` names a mirror.
const ENDPOINT: &str = "https://huggingface.co";

/// A request that brings nothing for so long is given up, where `HF_HUB_DOWNLOAD_TIMEOUT` does not say otherwise.
const STALL: Duration = Duration::from_secs(30);

/// A setting of the environment; empty counts as absent.
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// A folder that the environment names; `~/` is the home folder, as in Python.
fn folder_setting(name: &str) -> Option<PathBuf> {
    let text = setting(name)?;
    match (text.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => Some(home.join(rest)),
        _ => Some(text.into()),
    }
}

/// The folder of the hub's programs: `HF_HOME`, or `huggingface` in the user's cache.
fn hub_home() -> PathBuf {
    folder_setting("HF_HOME").unwrap_or_else(|| {
        let caches = folder_setting("XDG_CACHE_HOME");
        caches.unwrap_or_else(|| std::env::home_dir().unwrap_or_default().join(".cache")).join("huggingface")
    })
}

/// The cache: `HF_HUB_CACHE`, or `hub` in the hub's home.
pub(super) fn hub_cache() -> PathBuf {
    let named = folder_setting("HF_HUB_CACHE").or_else(|| folder_setting("HUGGINGFACE_HUB_CACHE"));
    named.unwrap_or_else(|| hub_home().join("hub"))
}

/// The token, if the user has one: `HF_TOKEN`, or the file that `hf auth login` writes.
///
/// # Errors
/// A text that can be no token. It is not shown.
pub(super) fn token() -> Result<Option<String>> {
    if is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
        return Ok(None);
    }
    let (place, token) = match setting("HF_TOKEN").or_else(|| setting("HUGGING_FACE_HUB_TOKEN")) {
        Some(token) => ("HF_TOKEN".to_owned(), token),
        None => {
            let file = folder_setting("HF_TOKEN_PATH").unwrap_or_else(|| hub_home().join("token"));
            let token = fs::read_to_string(&file).unwrap_or_default().trim().to_owned();
            (file.display().to_string(), token)
        }
    };
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let fault = "holds spaces, line breaks or other characters that no access token has";
        return Err(Error::input(place, fault, "set HF_TOKEN to the token alone, or unset it"));
    }
    Ok(Some(token).filter(|token| !token.is_empty()))
}

/// Whether the environment forbids to use the network.
pub(super) fn offline() -> bool {
    ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"].iter().any(|name| is_on(name))
}

fn is_on(name: &str) -> bool {
    setting(name).is_some_and(|value| ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str()))
}

/// How long a request may bring nothing.
pub(super) fn stall() -> Duration {
    let seconds = setting("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|text| text.parse::<f64>().ok());
    let seconds = seconds.filter(|seconds| *seconds >= 0.1 && *seconds <= 3600.0);
    seconds.map_or(STALL, Duration::from_secs_f64)
}

/// The hub's address. What is shown of it never has a user's name or password.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// The address, without user and password.
    pub url: Url,
    /// A user and a password that stood in it, as they were written there.
    pub login: Option<Login>,
}

/// A user's name and password.
#[derive(Clone)]
pub(super) struct Login {
    pub user: String,
    pub password: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(…)")
    }
}

impl Endpoint {
    /// As `HF_ENDPOINT` has it.
    ///
    /// # Errors
    /// A text that is no address of a server.
    pub fn from_environment() -> Result<Self> {
        let text = setting("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let fault = |fault: String| {
            let place = format!("HF_ENDPOINT {}", without_login(text.trim_end_matches('/')));
            Error::input(place, fault, "set it to an address such as https://huggingface.co, or unset it")
        };
        let mut url = Url::parse(&text).map_err(|e| fault(format!("the hub cannot be asked: {e}")))?;
        if !is_web(&url) || !url.has_host() {
            return Err(fault("the hub cannot be asked: expected http:// or https:// and a host".into()));
        }
        let user = url.username().to_owned();
        let password = url.password().map(str::to_owned);
        let login = (!user.is_empty() || password.is_some()).then_some(Login { user, password });
        forget_login(&mut url);
        url.set_query(None);
        url.set_fragment(None);
        Ok(Self { url, login })
    }

    /// The same for messages, where the address is not what they are about.
    pub fn shown() -> String {
        Self::from_environment().map_or_else(|_| ENDPOINT.to_owned(), |endpoint| endpoint.to_string())
    }

    /// Whether nobody between can read what is sent there.
    pub fn is_protected(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        let is_here = host == "localhost" || host == "[::1]" || host.starts_with("127.");
        self.url.scheme() == "https" || is_here
    }

    /// The address of something at the hub; every part becomes one part of the path, whatever characters it has.
    pub fn at<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

/// Whether an address is one of the web.
pub(super) fn is_web(url: &Url) -> bool {
    ["http", "https"].contains(&url.scheme())
}

/// Takes the user and password out of an address.
pub(super) fn forget_login(url: &mut Url) {
    // Both fail only for addresses without a host, which have neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
}

/// A text that should be an address, without what may be a user and a password in it.
fn without_login(text: &str) -> String {
    let (scheme, rest) = match text.split_once("//") {
        Some((scheme, rest)) => (format!("{scheme}//"), rest),
        None => (String::new(), text),
    };
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}{host}")
}
