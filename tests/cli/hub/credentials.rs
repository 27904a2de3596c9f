//! A token is for one scheme, host and port, and is shown nowhere.

use std::fs;

use super::place::{ALWAYS, Place};
use super::server::{Asked, Fault, Server};

const TOKEN: &str = "hf_only_for_the_hub";

impl Place {
    /// Fetches the model with a token, and gives what was asked.
    fn with_token(&self, says: Option<&str>) -> Vec<Asked> {
        self.hub.asked();
        let said = self.run_with("fetch org/tiny -vv", &[("HF_TOKEN", TOKEN)]);
        match says {
            Some(says) => assert!(said.status == Some(2) && said.err.contains(says), "no {says:?}: {}", said.err),
            None => assert_eq!(said.status, Some(0), "{}", said.err),
        }
        assert!(!said.err.contains(TOKEN) && !said.out.contains(TOKEN), "the token is shown: {}", said.err);
        for path in super::place::listing(&self.path("home")) {
            let bytes = fs::read(self.path("home").join(&path)).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&bytes).contains(TOKEN), "the token is saved in {path}");
        }
        self.hub.asked()
    }
}

/// Nothing that tells who asks came to the other host.
fn told_nobody_else(asked: &[Asked]) {
    let told: Vec<&Asked> = asked.iter().filter(|asked| asked.elsewhere && asked.authorization.is_some()).collect();
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn a_redirect_of_any_kind_to_another_host_is_followed_without_the_token() {
    for status in [301, 302, 303, 307, 308] {
        let place = Place::new();
        let other = &place.hub.other;
        let to = |path: &str| format!("Location: {other}{path}\r\n");
        let commit = place.commit.clone();
        let question = "/api/models/org/tiny/revision/main";
        place.hub.fault(question, 1, Fault::Answer(status, to(&format!("{question}?expand=sha")), Vec::new()));
        let tree = format!("/api/models/org/tiny/tree/{commit}");
        place.hub.fault(&tree, 1, Fault::Answer(status, to(&format!("{tree}?recursive=false")), Vec::new()));
        let file = to("/models/org/tiny/config.json");
        place.hub.fault("/config.json", 1, Fault::Answer(status, file, Vec::new()));
        let asked = place.with_token(None);
        assert!(asked.iter().filter(|asked| asked.elsewhere).count() >= 4, "{asked:?}");
        told_nobody_else(&asked);
        let hub: Vec<&Asked> = asked.iter().filter(|asked| !asked.elsewhere).collect();
        assert!(hub.iter().all(|asked| asked.token.as_deref() == Some(TOKEN)), "the hub itself is told: {hub:?}");
    }
}

#[test]
fn a_relative_redirect_stays_at_the_hub_and_keeps_the_token() {
    let place = Place::new();
    place.hub.moved("models/tiny", "models/org/tiny");
    let said = place.run_with("fetch tiny", &[("HF_TOKEN", TOKEN)]);
    assert_eq!(said.status, Some(0), "{}", said.err);
    let asked = place.hub.asked();
    told_nobody_else(&asked);
    assert!(asked.iter().filter(|asked| !asked.elsewhere).all(|asked| asked.token.is_some()), "{asked:?}");
}

#[test]
fn a_way_back_from_another_host_is_gone_without_the_token() {
    let place = Place::new();
    let back = format!("{}/api/models/org/tiny/revision/v1?expand=sha", place.hub.endpoint);
    let there = format!("{}/api/models/org/tiny/revision/main?expand=sha", place.hub.other);
    place.hub.fault("/revision/main", 1, Fault::Answer(307, format!("Location: {there}\r\n"), Vec::new()));
    place.hub.fault("/revision/main", 1, Fault::Answer(307, format!("Location: {back}\r\n"), Vec::new()));
    let asked = place.with_token(None);
    told_nobody_else(&asked);
    let returned = asked.iter().find(|asked| asked.target.contains("/revision/v1")).unwrap();
    assert_eq!((returned.elsewhere, &returned.authorization), (false, &None));
}

#[test]
fn a_listing_goes_on_at_the_same_host_only() {
    let place = Place::new();
    let tree = format!("/api/models/org/tiny/tree/{}", place.commit);
    let there = [
        place.hub.other.clone(),
        place.hub.endpoint.replace("127.0.0.1", "localhost"),
        place.hub.endpoint.replace("http", "https"),
        place.hub.endpoint.replace("127.0.0.1", "sub.localhost"),
    ];
    for there in there {
        let link = format!("Link: <{there}{tree}?cursor=3>; rel=\"next\"\r\n");
        place.hub.fault("/tree/", 1, Fault::Answer(200, link, b"[]".to_vec()));
        let asked = place.with_token(Some("its listing goes on at another host"));
        assert!(asked.iter().all(|asked| !asked.elsewhere), "{asked:?}");
    }
    // A user in the address does not make it another host, and is not asked as.
    let link = place.hub.endpoint.replace("http://", "http://eve:secret@");
    let link = format!("Link: <{link}{tree}?recursive=false&page=2>; rel=next\r\n");
    place.hub.fault("/tree/", 1, Fault::Answer(200, link, b"[]".to_vec()));
    let asked = place.with_token(None);
    assert!(asked.iter().filter(|asked| !asked.elsewhere).all(|asked| asked.token.as_deref() == Some(TOKEN)));
}

#[test]
fn a_user_in_the_address_of_a_redirect_is_not_asked_as() {
    let place = Place::new();
    let there = place.hub.other.replace("http://", "http://eve:secret@");
    let location = format!("Location: {there}/models/org/tiny/config.json\r\n");
    place.hub.fault("/config.json", 1, Fault::Answer(302, location, Vec::new()));
    told_nobody_else(&place.with_token(None));
}

#[test]
fn a_redirect_to_what_is_no_address_of_the_web_is_refused() {
    for (to, says) in
        [("file:///etc/passwd", "of the kind file:"), ("ftp://127.0.0.1/x", "ftp:"), ("http://", "no address")]
    {
        let place = Place::new();
        place.hub.fault("/revision/main", 1, Fault::Answer(302, format!("Location: {to}\r\n"), Vec::new()));
        place.with_token(Some(says));
    }
    let place = Place::new();
    let around = "Location: /api/models/org/tiny/revision/main\r\n".to_owned();
    place.hub.fault("/revision/main", ALWAYS, Fault::Answer(307, around, Vec::new()));
    let asked = place.with_token(Some("redirects more than 10 times"));
    assert_eq!(asked.len(), 11);
}

#[test]
fn a_server_that_repeats_the_token_does_not_make_it_shown() {
    let place = Place::new();
    let body = format!("{{\"error\":\"the token {TOKEN} is \\u001b[31mno good\"}}").into_bytes();
    place.hub.fault("/revision/main", 1, Fault::Answer(403, String::new(), body));
    place.with_token(Some("the token … is [31mno good"));
    let header = format!("X-Error-Message: {TOKEN}?\r\n");
    place.hub.fault("/config.json", 1, Fault::Answer(403, header, Vec::new()));
    place.with_token(Some("status 403: …?"));
}

#[test]
fn a_user_and_password_in_the_hubs_address_are_used_there_and_not_shown() {
    let place = Place::new();
    let endpoint = place.hub.endpoint.replace("http://", "http://me:pass%40word@");
    let settings = [("HF_ENDPOINT", endpoint.as_str())];
    let said = place.run_with("fetch org/tiny -vv", &settings);
    assert_eq!(said.status, Some(0), "{}", said.err);
    assert!(!said.err.contains("pass"), "{}", said.err);
    let asked = place.hub.asked();
    told_nobody_else(&asked);
    // "me:pass@word" in base 64.
    let basic = Some("Basic bWU6cGFzc0B3b3Jk".to_owned());
    assert!(asked.iter().filter(|asked| !asked.elsewhere).all(|asked| asked.authorization == basic), "{asked:?}");
    let err = place.refused_with("fetch org/tyny", &settings, &["no model of this name"]);
    assert!(!err.contains("pass"), "{err}");
    // A token goes before it.
    place.hub.asked();
    place.run_with("fetch org/tiny", &[settings[0], ("HF_TOKEN", TOKEN)]);
    assert!(place.hub.asked().iter().all(|asked| asked.elsewhere || asked.token.as_deref() == Some(TOKEN)));
    let err = place.refused_with(
        "fetch org/tiny",
        &[("HF_ENDPOINT", "https://me:pass@ho st/")],
        &["HF_ENDPOINT https://ho st"],
    );
    assert!(!err.contains("pass"), "{err}");
    let offline = [("HF_HUB_OFFLINE", "1"), settings[0]];
    let err = place.refused_with("fetch org/other", &offline, &["/org/other/resolve/main/config.json"]);
    assert!(!err.contains("pass"), "{err}");
}

#[test]
fn a_hub_below_a_path_is_asked_there() {
    let place = Place::new();
    let endpoint = format!("{}/mirror/of/it/", place.hub.endpoint);
    place.refused_with("fetch org/tiny", &[("HF_ENDPOINT", &endpoint)], &["/mirror/of/it has no model"]);
    let asked = place.hub.asked();
    assert_eq!(asked[0].target, "/mirror/of/it/api/models/org/tiny/revision/main?expand=sha");
}

#[test]
fn a_token_that_can_be_none_is_refused_unseen() {
    let place = Place::new();
    for token in ["hf secret", "hf_sécret", "hf_\u{7f}secret"] {
        let err =
            place.refused_with("fetch org/tiny", &[("HF_TOKEN", token)], &["HF_TOKEN: holds", "no access token has"]);
        assert!(!err.contains("cret"), "{err}");
    }
    assert!(place.hub.asked().is_empty());
    // Another place for the file, and none of it where it is not wanted.
    fs::write(place.path("elsewhere"), format!("{TOKEN}\n")).unwrap();
    let file = place.path("elsewhere");
    let named = ("HF_TOKEN_PATH", file.to_str().unwrap());
    assert_eq!(place.run_with("fetch org/tiny", &[named]).status, Some(0));
    assert!(place.hub.asked().iter().any(|asked| asked.token.as_deref() == Some(TOKEN)));
    place.run_with("fetch org/tiny", &[named, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "yes")]);
    assert!(place.hub.asked().iter().all(|asked| asked.authorization.is_none()));
}

#[test]
fn another_port_of_the_same_host_is_another_host() {
    // The server's two hosts differ in the port alone, which all tests here rely on.
    let hub = Server::start();
    let host = |address: &str| address.rsplit_once(':').unwrap().0.to_owned();
    assert_eq!(host(&hub.endpoint), host(&hub.other));
    assert_ne!(hub.endpoint, hub.other);
}
