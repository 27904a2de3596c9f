//! Requests to the hub, and to where it sends: bounded in bytes and time, ended by a stop, and with the user's
//! credentials for the hub's own address alone.
//!
//! Redirects are followed here and not by the HTTP library. A token was given for one scheme, host and port; what leads
//! elsewhere is asked without it, and so is everything that this leads to, should it come back. No answer is unpacked:
//! none is asked for packed.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, LOCATION, RANGE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::patience::TICK;
use super::settings::{self, Endpoint, forget_login, is_web};
use super::trouble::Trouble;
use crate::error::{Error, Result};
use crate::progress::Monitor;

/// Redirects of one request at most.
const MOST_REDIRECTS: usize = 10;
/// Bytes that are read of an answer that says no.
const LONGEST_REFUSAL: usize = 8 << 10;
/// Bytes a second that an answer brings at least, on average over the time after which a silent one is given up.
const SLOWEST: f64 = 1024.0;
/// The longest for a whole answer in JSON.
const LONGEST_QUESTION: Duration = Duration::from_secs(120);

/// Asks.
pub(super) struct Http {
    /// There until this is dropped.
    runtime: Option<Runtime>,
    client: Client,
    endpoint: Endpoint,
    token: Option<String>,
    stall: Duration,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("endpoint", &self.endpoint.to_string()).finish_non_exhaustive()
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        // Without waiting for a name server that does not answer.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Http {
    /// For the hub at `endpoint`, which alone is shown the token.
    pub fn new(endpoint: Endpoint, token: Option<String>) -> Result<Self> {
        let place = format!("HF_ENDPOINT {endpoint}");
        let cure = "check the proxies and certificates that the environment names, or set HF_HUB_OFFLINE=1";
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::input(&place, format!("the hub cannot be asked: {e}"), cure))?;
        // No connection is kept: it might be closed by the other side between two requests.
        let client = Client::builder()
            .user_agent(concat!("odyssey/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .referer(false)
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|e| Error::input(&place, format!("the hub cannot be asked: {}", innermost(&e)), cure))?;
        Ok(Self { runtime: Some(runtime), client, endpoint, token, stall: settings::stall() })
    }

    /// The hub's address.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether there is a token.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// The answer to a GET, its body still to come. From byte `from` on, if the server can.
    ///
    /// # Errors
    /// Also every status that is no success.
    pub fn get(&self, url: &Url, from: u64, monitor: &dyn Monitor) -> Result<Answer<'_>, Trouble> {
        let mut url = url.clone();
        let mut at_home = true;
        for _ in 0..=MOST_REDIRECTS {
            // Once led away, the hub is no longer who leads.
            at_home &= same_origin(&url, &self.endpoint.url);
            let since = Instant::now();
            let late = || since.elapsed() > self.stall;
            let response = self.wait(monitor, &url, late, self.request(&url, from, at_home).send())?;
            let status = response.status();
            let answer = Answer { http: self, response, url: url.clone(), since: Instant::now(), bytes: 0 };
            if status.is_success() {
                return Ok(answer);
            }
            match answer.header(LOCATION.as_str()) {
                Some(location) if is_redirect(status) => url = self.redirected(&url, location)?,
                _ => return Err(answer.refusal(monitor)),
            }
        }
        Err(Trouble::Strange(self.said_by(&url, &format!("it redirects more than {MOST_REDIRECTS} times"))))
    }

    fn request(&self, url: &Url, from: u64, at_home: bool) -> RequestBuilder {
        let mut url = url.clone();
        if let (true, None, Some(login)) = (at_home, &self.token, &self.endpoint.login) {
            // The library makes a header of it. Both succeed for addresses of the web.
            let _ = url.set_username(&login.user);
            let _ = url.set_password(login.password.as_deref());
        }
        let mut request = self.client.get(url).header(ACCEPT_ENCODING, "identity");
        if let (true, Some(token)) = (at_home, &self.token) {
            request = request.bearer_auth(token);
        }
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        request
    }

    /// Where a redirect leads.
    fn redirected(&self, from: &Url, location: &str) -> Result<Url, Trouble> {
        let strange = |what: &str| Trouble::Strange(self.said_by(from, what));
        let mut to = from.join(location).map_err(|_| strange("it redirects to what is no address"))?;
        if !is_web(&to) {
            return Err(strange(&format!("it redirects to an address of the kind {}:", to.scheme())));
        }
        if from.scheme() == "https" && to.scheme() != "https" {
            let host = origin(&to);
            return Err(strange(&format!("it redirects from https to {host}, which is not protected")));
        }
        forget_login(&mut to);
        Ok(to)
    }

    /// The answer to a question as JSON of up to `most` bytes.
    pub fn json<T: DeserializeOwned>(&self, url: &Url, most: usize, monitor: &dyn Monitor) -> Result<Told<T>, Trouble> {
        let mut answer = self.get(url, 0, monitor)?;
        answer.check_plain()?;
        let next = answer.header("link").and_then(next_of);
        let bytes = answer.body(most, monitor)?.ok_or_else(|| {
            Trouble::Strange(self.said_by(&answer.url, &format!("it answers with more than {most} bytes")))
        })?;
        let value = serde_json::from_slice(&bytes).map_err(|error| match error.is_eof() {
            // A body that ends early is a fault of the connection; a body that is not JSON is a fault of the server.
            true => Trouble::Unreachable(self.said_by(&answer.url, "the answer was cut off")),
            false => Trouble::Strange(self.said_by(&answer.url, &error.to_string())),
        })?;
        Ok(Told { value, next, url: answer.url.clone(), bytes: bytes.len() })
    }

    /// Drives a request until it is done, the user stops it, or it is `late`.
    fn wait<T>(
        &self,
        monitor: &dyn Monitor,
        url: &Url,
        late: impl Fn() -> bool,
        request: impl Future<Output = reqwest::Result<T>>,
    ) -> Result<T, Trouble> {
        let Some(runtime) = &self.runtime else { return Err(Trouble::Stopped) };
        runtime.block_on(async {
            let mut request = pin!(request);
            loop {
                match timeout(TICK, request.as_mut()).await {
                    Ok(Ok(done)) => return Ok(done),
                    Ok(Err(error)) => return Err(self.trouble(url, &error)),
                    Err(_) if monitor.stopped() => return Err(Trouble::Stopped),
                    Err(_) if late() => return Err(self.too_slow(url)),
                    Err(_) => {}
                }
            }
        })
    }

    fn too_slow(&self, url: &Url) -> Trouble {
        let seconds = self.stall.as_secs_f64();
        Trouble::Unreachable(self.said_by(url, &format!("next to nothing arrived for {seconds} s")))
    }

    fn trouble(&self, url: &Url, error: &reqwest::Error) -> Trouble {
        let said = self.said_by(url, &innermost(error));
        if error.is_builder() { Trouble::Strange(said) } else { Trouble::Unreachable(said) }
    }

    /// What a server said or did, on one line, short, with its address where it is not the hub's, and never the token,
    /// which a server may repeat.
    fn said_by(&self, url: &Url, text: &str) -> String {
        let mut text = text.to_owned();
        let secrets = [self.token.as_deref(), self.endpoint.login.as_ref().and_then(|login| login.password.as_deref())];
        for secret in secrets.into_iter().flatten().filter(|secret| !secret.is_empty()) {
            text = text.replace(secret, "…");
        }
        let line = one_line(&text);
        if same_origin(url, &self.endpoint.url) { line } else { format!("{}: {line}", origin(url)) }
    }
}

/// What an answer in JSON says.
pub(super) struct Told<T> {
    pub value: T,
    /// Where it goes on, by its `Link` header.
    pub next: Option<String>,
    /// Who answered.
    pub url: Url,
    /// How long it was.
    pub bytes: usize,
}

/// An answer whose body is still to come.
pub(super) struct Answer<'a> {
    http: &'a Http,
    response: Response,
    url: Url,
    /// Since when `bytes` are counted, to tell a server that only drips.
    since: Instant,
    bytes: u64,
}

impl Answer<'_> {
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// A header, if it is there and plain text.
    pub fn header(&self, name: &str) -> Option<&str> {
        text_of(self.response.headers(), name)
    }

    /// How many bytes the server says will come.
    pub fn announced(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH.as_str())?.parse().ok()
    }

    /// An answer that cannot be understood, because of this.
    pub fn strange(&self, what: &str) -> Trouble {
        Trouble::Strange(self.http.said_by(&self.url, what))
    }

    /// An answer that ended too early, because of this.
    pub fn cut_off(&self, what: &str) -> Trouble {
        Trouble::Unreachable(self.http.said_by(&self.url, what))
    }

    /// Who answers, for people.
    pub fn host(&self) -> String {
        origin(&self.url)
    }

    /// Refuses a body that is packed though nobody asked for that: its size and hash would be another file's.
    pub fn check_plain(&self) -> Result<(), Trouble> {
        match self.header(CONTENT_ENCODING.as_str()) {
            None | Some("identity" | "") => Ok(()),
            Some(other) => {
                Err(self.strange(&format!("it packs its answer with {other}, though that was not asked for")))
            }
        }
    }

    /// What comes next of the body; `None` at its end.
    pub fn chunk(&mut self, monitor: &dyn Monitor) -> Result<Option<Bytes>, Trouble> {
        if monitor.stopped() {
            return Err(Trouble::Stopped);
        }
        let (since, bytes, stall) = (self.since, self.bytes, self.http.stall);
        let late = || since.elapsed() > stall && (bytes as f64) < SLOWEST * stall.as_secs_f64();
        let chunk = self.http.wait(monitor, &self.url, late, self.response.chunk())?;
        self.bytes += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if self.since.elapsed() > stall {
            if (self.bytes as f64) < SLOWEST * stall.as_secs_f64() {
                return Err(self.http.too_slow(&self.url));
            }
            (self.since, self.bytes) = (Instant::now(), 0);
        }
        Ok(chunk)
    }

    /// All of the body; `None` where it has more than `most` bytes.
    fn body(&mut self, most: usize, monitor: &dyn Monitor) -> Result<Option<Vec<u8>>, Trouble> {
        let begun = Instant::now();
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(monitor)? {
            if bytes.len() + chunk.len() > most {
                return Ok(None);
            }
            bytes.extend_from_slice(&chunk);
            if begun.elapsed() > LONGEST_QUESTION {
                return Err(self.http.too_slow(&self.url));
            }
        }
        Ok(Some(bytes))
    }

    /// What an answer says that is no success.
    fn refusal(mut self, monitor: &dyn Monitor) -> Trouble {
        let told = self.header("x-error-message").map(str::to_owned).or_else(|| {
            let body = self.body(LONGEST_REFUSAL, monitor).ok()??;
            let value: serde_json::Value = serde_json::from_slice(&body).ok()?;
            value.get("error")?.as_str().map(str::to_owned)
        });
        let message = match told {
            Some(told) => self.http.said_by(&self.url, &told),
            None if same_origin(&self.url, &self.http.endpoint.url) => String::new(),
            None => format!("from {}", self.host()),
        };
        let code = one_line(self.header("x-error-code").unwrap_or_default());
        Trouble::Refused { status: self.status(), code, message, wait: wait_of(self.response.headers()) }
    }
}

/// Whether two addresses are of one server: credentials for the one may be shown to the other.
pub(super) fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// An address without its path and query, which may hold a signature.
pub(super) fn origin(url: &Url) -> String {
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

/// The address of `<…>; rel="next"` in a `Link` header.
fn next_of(link: &str) -> Option<String> {
    link.split(',').find_map(|part| {
        let (address, about) = part.trim().strip_prefix('<')?.split_once('>')?;
        let about = about.to_ascii_lowercase().replace([' ', '"'], "");
        about.split(';').any(|word| word == "rel=next").then(|| address.to_owned())
    })
}

/// How long a server asks to wait: `Retry-After` in seconds, or `t` of the hub's `RateLimit`.
fn wait_of(headers: &HeaderMap) -> Option<Duration> {
    let after = text_of(headers, RETRY_AFTER.as_str()).and_then(|text| text.parse().ok());
    let of_limit =
        || text_of(headers, "ratelimit")?.split(';').find_map(|part| part.trim().strip_prefix("t=")?.parse().ok());
    after.or_else(of_limit).map(Duration::from_secs)
}

/// The deepest reason of an error, which is the most informative: "Connection refused" and not "error sending request".
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let deepest = std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error);
    one_line(&deepest.to_string())
}

/// The message of a server, short and on one line.
fn one_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect()
}
