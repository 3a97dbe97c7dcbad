//! Errors of the hub in words: what went wrong, and what may help.
//!
//! Does not know what was asked for beyond a name for it. Names ids, never addresses: the environment decides where the
//! hub is.

use hf_hub::api::sync::ApiError;
use synergy_hint::Hinted;

use crate::fetch::lock;

/// Returns whether the same question may be answered later.
pub(super) fn may_pass(error: &ApiError) -> bool {
    match error {
        ApiError::RequestError(error) => match &**error {
            ureq::Error::StatusCode(status) => *status >= 500,
            _ => true,
        },
        ApiError::IoError(error) => error.kind() != std::io::ErrorKind::StorageFull,
        _ => false,
    }
}

/// Explains what went wrong at the hub, with a hint.
pub(super) fn explain(error: ApiError, id: &str, what: &str) -> anyhow::Error {
    let lock = lock::PATH;
    let status = match &error {
        ApiError::RequestError(error) => match **error {
            ureq::Error::StatusCode(status) => Some(status),
            _ => None,
        },
        _ => None,
    };
    let (cause, hint) = match (status, error) {
        (Some(401), _) => (
            format!("the hub does not give {what} of `{id}` without an account (status 401)"),
            format!(
                "set HF_TOKEN to a token of an account that has accepted the license on the page of `{id}`; \
                 a misspelled `hub` in {lock} is refused in the same way"
            ),
        ),
        (Some(403), _) => (
            format!("the hub does not give {what} of `{id}` to this account (status 403)"),
            format!("accept the owners' terms on the page of `{id}`, with the account of HF_TOKEN"),
        ),
        (Some(404), _) => (
            format!("the hub has no {what} of `{id}` (status 404)"),
            format!(
                "compare `hub` and `revision` in {lock} with the set's page; a private set needs HF_TOKEN"
            ),
        ),
        (Some(429), _) => (
            "the hub has had too many requests from here (status 429)".to_owned(),
            "wait some minutes, or set HF_TOKEN; what has come so far is kept".to_owned(),
        ),
        (Some(status), _) => (
            format!("the hub answers with status {status} for {what} of `{id}`"),
            "try again later; what has come so far is kept".to_owned(),
        ),
        (None, ApiError::RequestError(error)) => (
            format!("failed to reach the hub for {what} of `{id}`: {error}"),
            "it needs the network; HTTPS_PROXY names a proxy, HF_ENDPOINT another hub".to_owned(),
        ),
        (None, ApiError::LockAcquisition(path)) => (
            format!("another program downloads {what} of `{id}` (`{}`)", path.display()),
            "wait until it has finished".to_owned(),
        ),
        (None, error) => (
            format!("failed to download {what} of `{id}`: {error}"),
            "run it again; it resumes where it broke".to_owned(),
        ),
    };
    Hinted::new(cause, hint).into()
}
