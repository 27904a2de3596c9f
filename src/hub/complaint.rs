//! What is said where the hub does not give what was asked for, and how to get it in spite of that.

use super::name::{Kind, Name};
use super::remote::Remote;
use super::settings::Endpoint;
use super::trouble::Trouble;
use crate::error::Error;
use crate::message::{Message, Setting};
use crate::model::peft;

/// The files that are most likely needed of a name, where nothing is known about it.
pub(super) fn usual_files(name: &Name) -> Vec<String> {
    match name.kind {
        Kind::Model => ["config.json", "model.safetensors", "tokenizer.json"].map(str::to_owned).into(),
        Kind::Adapter => {
            let folder = if name.inside.is_empty() { String::new() } else { format!("{}/", name.inside) };
            [peft::CONFIG, peft::WEIGHTS].map(|file| format!("{folder}{file}")).into()
        }
        Kind::Dataset if name.inside.is_empty() => Vec::new(),
        Kind::Dataset => vec![name.inside.clone()],
    }
}

/// How to get files without this program.
pub(super) fn by_hand(name: &Name, missing: &[String]) -> String {
    let endpoint = Endpoint::shown();
    let repository = match name.kind {
        Kind::Model | Kind::Adapter => format!("{endpoint}/{}", name.repository),
        Kind::Dataset => format!("{endpoint}/datasets/{}", name.repository),
    };
    let of = |path: &String| format!("{repository}/resolve/{}/{path}", name.revision);
    let shown: Vec<String> = missing.iter().take(8).map(of).collect();
    let more = if missing.len() > shown.len() {
        format!(" and {} more files", missing.len() - shown.len())
    } else {
        String::new()
    };
    match (name.kind, shown.as_slice()) {
        (_, []) => format!("download the files wanted from {repository}/tree/{} and name their folder", name.revision),
        (Kind::Dataset, [one]) => format!("download {one} and name that file"),
        _ => format!("download {}{more} into one folder, whichever you like, and name that folder", shown.join(" ")),
    }
}

pub(super) fn said(remote: &Remote, trouble: &Trouble) -> String {
    let what = match trouble {
        Trouble::Unreachable(_) => "cannot be reached",
        _ => "does not serve it now",
    };
    format!("the hub {} {what} ({})", remote.endpoint(), trouble.reason())
}

/// The error for a name that could not be had: what the hub said, and the cure.
pub(super) fn complaint(remote: &Remote, name: &Name, trouble: &Trouble, missing: &[String]) -> Error {
    let (endpoint, has_token) = (remote.endpoint(), remote.has_token());
    let page = match name.kind {
        Kind::Model | Kind::Adapter => format!("{endpoint}/{}", name.repository),
        Kind::Dataset => format!("{endpoint}/datasets/{}", name.repository),
    };
    let said = trouble.reason();
    let kind = name.kind;
    let spelling = match kind {
        Kind::Model => Message::new("check the name (OWNER/NAME; a data set needs ")
            .command("fetch", [Setting::new("dataset", true)])
            .then(
                "), set HF_TOKEN if it is private, or name a folder with config.json, model.safetensors and tokenizer.json",
            ),
        Kind::Adapter => "check the name (OWNER/NAME), set HF_TOKEN if it is private, or name a folder with \
                          adapter_config.json and adapter_model.safetensors"
            .into(),
        Kind::Dataset => {
            "check the name (OWNER/NAME), set HF_TOKEN if it is private, or name a file or folder that is here".into()
        }
    };
    match trouble {
        Trouble::Stopped => Error::Interrupted(format!("{name}: nothing was fetched")),
        Trouble::Unreachable(_) => {
            let fault = format!("the hub {endpoint} cannot be reached ({said})");
            Error::input(name, fault, format!("check the network, or {}", by_hand(name, missing)))
        }
        Trouble::Strange(_) => Error::input(
            name,
            format!("the hub {endpoint} gives an answer that cannot be understood ({said})"),
            "check the network and HF_ENDPOINT, or set HF_HUB_OFFLINE=1 to use what is in the cache",
        ),
        Trouble::Refused { status, code, .. } => match (status, code.as_str()) {
            (401 | 403, "GatedRepo") => Error::input(
                name,
                format!("the hub gives this {kind} only to those who accepted its licence ({said})"),
                match has_token {
                    true => format!("accept it on {page} with the account that HF_TOKEN belongs to"),
                    false => format!(
                        "accept it on {page}, make a token on {endpoint}/settings/tokens, and set HF_TOKEN to it"
                    ),
                },
            ),
            // The hub also answers 401 for a repository that does not exist, so that private ones stay hidden.
            (401, "") | (401, "RepoNotFound") if !has_token => {
                Error::input(name, format!("the hub {endpoint} has no public {kind} of this name ({said})"), spelling)
            }
            (401 | 403, _) => Error::input(
                name,
                format!("the hub refuses it ({said})"),
                match has_token {
                    true => format!("check that HF_TOKEN is valid and may read {page}"),
                    false => format!("ask for access on {page}, and set HF_TOKEN"),
                },
            ),
            (404, "RevisionNotFound") => Error::input(
                name,
                format!("the hub's {kind} has no revision {:?}", name.revision),
                format!("see {page}/tree/main for its branches and tags"),
            ),
            (404, "EntryNotFound") => Error::input(
                name,
                format!("the hub's {kind} has no such file or folder"),
                format!("see {page}/tree/{} for what it has", name.revision),
            ),
            (404, _) => Error::input(name, format!("the hub {endpoint} has no {kind} of this name ({said})"), spelling),
            (429, _) => {
                let token = if has_token { "" } else { ", or set HF_TOKEN: the hub allows more to those it knows" };
                let wait = match trouble {
                    Trouble::Refused { wait: Some(wait), .. } => format!("it asks to wait {} s", wait.as_secs()),
                    _ => said,
                };
                Error::input(
                    name,
                    format!("the hub has had too many questions ({wait})"),
                    format!("try again then{token}"),
                )
            }
            (500.., _) => Error::input(
                name,
                format!("the hub {endpoint} fails again and again ({said})"),
                "try again later; what has arrived is kept",
            ),
            _ => Error::input(name, format!("the hub refuses it ({said})"), format!("see {page}")),
        },
    }
}
