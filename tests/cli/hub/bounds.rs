//! Whatever a server does, a fetch ends: with the file, or with a sentence.

use std::fs;
use std::time::{Duration, Instant};

use super::place::{ALWAYS, Place, listing, states};
use super::server::{Fault, Stored, sha256};

const LARGE: &str = "/org/tiny/model.safetensors?";

impl Place {
    /// Runs a fetch that must be refused soon, and leaves no whole model.
    fn ends_soon(&self, says: &[&str]) {
        let started = Instant::now();
        self.refused_with("fetch org/tiny", &[("HF_HUB_DOWNLOAD_TIMEOUT", "1")], says);
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
        assert!(!self.cached("snapshots").exists(), "no half a model");
    }
}

#[test]
fn a_listing_without_end_is_given_up() {
    let place = Place::new();
    let json = "Content-Type: application/json\r\n";
    let entry = "{\"type\":\"file\",\"path\":\"a\",\"size\":1},";
    place.hub.fault("/tree/", ALWAYS, Fault::Endless(200, json.into(), entry));
    place.ends_soon(&["answers with more than 4194304 bytes", &place.hub.endpoint]);
    // So is one with ever more pages, and one whose pages lead in a circle.
    let place = Place::new();
    let link = |query: &str| format!("Link: </api/models/org/tiny/tree/{}?{query}>; rel=\"next\"\r\n", place.commit);
    place.hub.fault("/tree/", ALWAYS, Fault::Answer(200, link("cursor=1"), b"[]".to_vec()));
    place.ends_soon(&["its listing goes round in a circle"]);
}

#[test]
fn a_listing_that_is_none_is_refused() {
    let hash = "a".repeat(40);
    let listed = |more: &str| format!("[{{\"type\":\"file\",\"path\":\"x\",\"oid\":\"{hash}\",{more}}}]");
    let twice = format!("[{0},{0}]", &listed("\"size\":1")[1..listed("\"size\":1").len() - 1]);
    let large = |oid: &str, size: u32| listed(&format!("\"size\":1,\"lfs\":{{\"oid\":\"{oid}\",\"size\":{size}}}"));
    let cases = [
        ("[".repeat(100_000), "invalid type: sequence"),
        (listed("\"size\":-5"), "-5"),
        (listed("\"size\":1e30"), "floating point"),
        (twice, "it lists a file twice"),
        (large("../../etc", 1), "../../etc"),
        (large(&"b".repeat(64), 2), "with 1 bytes and with 2"),
        ("{\"error\":\"no list\"}".into(), "expected a sequence"),
    ];
    for (body, says) in cases {
        let place = Place::new();
        place.hub.fault("/tree/", 1, Fault::Answer(200, String::new(), body.into_bytes()));
        place.ends_soon(&["cannot be understood", says]);
    }
}

#[test]
fn a_file_without_end_or_with_another_size_is_refused() {
    let announced = |bytes: usize| Fault::Answer(200, String::new(), vec![b'x'; bytes]);
    let cases = [
        (Fault::Endless(206, String::new(), "x"), "does not say which"),
        (Fault::Endless(200, String::new(), "x"), "it sends more of config.json than the"),
        (announced(5), "it sends config.json with 5 bytes, and lists it with"),
        (announced(50_000), "it sends config.json with 50000 bytes, and lists it with"),
        (Fault::Answer(206, "Content-Range: bytes 5-9/10\r\n".into(), vec![0; 5]), "from byte 5 on, where byte 0"),
        (Fault::Answer(206, "Content-Range: pages 1\r\n".into(), vec![0; 5]), "\"pages 1\""),
        (Fault::Headers("Content-Encoding: gzip\r\n".into()), "packs its answer with gzip"),
        (Fault::Answer(204, String::new(), Vec::new()), "status 204"),
    ];
    for (fault, says) in cases {
        let place = Place::new();
        place.hub.fault("/config.json", ALWAYS, fault);
        place.ends_soon(&[says]);
    }
}

#[test]
fn another_hosts_faults_are_told_with_its_name() {
    let place = Place::new();
    place.hub.fault(LARGE, ALWAYS, Fault::Answer(403, String::new(), b"<expired/>".to_vec()));
    place.refused("fetch org/tiny", &["the hub refuses it (status 403"]);
    let place = Place::new();
    place.hub.fault(LARGE, ALWAYS, Fault::Endless(206, String::new(), "x"));
    place.ends_soon(&[&format!("{}: it sends a part of a file", place.hub.other)]);
}

#[test]
fn a_server_that_stalls_or_only_drips_is_given_up() {
    for (on, fault) in [("/revision/main", Fault::Stall(0)), ("/config.json", Fault::Drip(300))] {
        let place = Place::new();
        place.hub.fault(on, ALWAYS, fault);
        place.ends_soon(&["next to nothing arrived for 1 s"]);
    }
}

#[test]
fn a_server_without_ranges_sends_a_file_once() {
    let place = Place::new();
    place.hub.forget_ranges();
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    place.hub.put("datasets/org/large", &[("all.txt", Stored::large(bytes.clone()))]);
    place.result("fetch org/large/all.txt");
    assert_eq!(place.hub.asked().iter().filter(|asked| asked.elsewhere).count(), 1);

    // Cut off, it comes again from its beginning, which is said; what was here is not lost by that.
    let place = Place { folder: tempfile::tempdir().unwrap(), ..place };
    place.hub.fault("/org/large/all.txt?", 1, Fault::Cut(8_000_000));
    place.hub.fault("/org/large/all.txt?", 1, Fault::Cut(4_000_000));
    let said = place.run_with("fetch org/large/all.txt", &[]);
    assert_eq!(said.status, Some(0), "{}", said.err);
    let says = format!("{} sends no parts of files, so that all.txt comes again", place.hub.other);
    assert!(said.err.contains(&says), "{}", said.err);
    let from: Vec<Option<usize>> = place.hub.asked().iter().filter(|a| a.elsewhere).map(|a| a.from).collect();
    assert_eq!(from.len(), 3);
    let blob = place.path("home/hub/datasets--org--large/blobs").join(sha256(&bytes));
    assert_eq!(fs::read(blob).unwrap(), bytes);
}

#[test]
fn what_is_left_of_a_longer_file_is_no_reason_to_fail() {
    let place = Place::new();
    let weights = place.weights();
    fs::create_dir_all(place.cached("blobs")).unwrap();
    // All of it is there already: nothing is asked for.
    fs::write(place.cached(&format!("blobs/{}.incomplete", sha256(&weights))), &weights).unwrap();
    place.result("fetch org/tiny");
    assert!(place.hub.asked().iter().all(|asked| !asked.elsewhere));
    // The server says that it has no such part.
    let place = Place::new();
    fs::create_dir_all(place.cached("blobs")).unwrap();
    fs::write(place.cached(&format!("blobs/{}.incomplete", sha256(&weights))), &weights[..100_000]).unwrap();
    place.hub.fault(LARGE, 1, Fault::Status(416, ""));
    place.result("fetch org/tiny");
    let from: Vec<Option<usize>> = place.hub.asked().iter().filter(|a| a.elsewhere).map(|a| a.from).collect();
    assert_eq!(from, [Some(100_000), None]);
}

#[test]
fn a_hub_that_is_busy_is_waited_for_by_its_own_words() {
    let place = Place::new();
    place.hub.fault("/tree/", 1, Fault::Status(429, "RateLimit: \"api\";r=0;t=1\r\n"));
    place.hub.fault("/config.json", 1, Fault::Status(503, "Retry-After: 1\r\n"));
    let started = Instant::now();
    place.result("fetch org/tiny");
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
}

#[test]
fn what_no_disk_could_hold_is_not_begun() {
    let place = Place::new();
    let hash = "a".repeat(40);
    let entry = |path: &str| {
        format!("{{\"type\":\"file\",\"path\":\"{path}\",\"oid\":\"{hash}\",\"size\":900000000000000000}}")
    };
    let body = format!("[{},{}]", entry("config.json"), entry("model.safetensors"));
    place.hub.fault("/tree/", ALWAYS, Fault::Answer(200, String::new(), body.into_bytes()));
    if cfg!(target_os = "linux") {
        place.ends_soon(&["the disk is full: 1800000000000.0 MB more are needed", "HF_HUB_CACHE"]);
        assert_eq!(listing(&place.path("home")).len(), 0);
    }
}

#[test]
fn a_file_of_no_bytes_is_a_file() {
    let place = Place::new();
    place.hub.put("datasets/org/empty", &[("a.txt", Stored::small("")), ("b.txt", Stored::small("text"))]);
    let fetched = place.result("fetch --dataset org/empty");
    assert_eq!(states(&fetched), [("a.txt", "fetched"), ("b.txt", "fetched")].into());
}
