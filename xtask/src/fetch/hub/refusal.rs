//! What the hub refuses, in words: what went wrong, and what may help.
//!
//! Does not know what was asked for beyond a name for it. Names ids, never addresses: where the hub is, the
//! environment says.

use anyhow::anyhow;
use hf_hub::api::sync::ApiError;

use crate::fetch::lock;

/// Whether the same question may be answered later.
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

/// Says what went wrong at the hub, and what may help.
pub(super) fn explain(error: ApiError, id: &str, what: &str) -> anyhow::Error {
    let lock = lock::PATH;
    let status = match &error {
        ApiError::RequestError(error) => match **error {
            ureq::Error::StatusCode(status) => Some(status),
            _ => None,
        },
        _ => None,
    };
    match (status, error) {
        (Some(401), _) => anyhow!(
            "the hub does not give {what} of `{id}` to somebody unknown (status 401)\n\
             hint: set HF_TOKEN to a token of an account that has accepted the license on the page of `{id}`; \
             a misspelled `hub` in {lock} is refused so too"
        ),
        (Some(403), _) => anyhow!(
            "the hub does not give {what} of `{id}` to this account (status 403)\n\
             hint: accept the owners' terms on the page of `{id}`, with the account of HF_TOKEN"
        ),
        (Some(404), _) => anyhow!(
            "the hub has no {what} of `{id}` (status 404)\n\
             hint: compare `hub` and `revision` in {lock} with the set's page; a private set needs HF_TOKEN"
        ),
        (Some(429), _) => anyhow!(
            "the hub has had too many requests from here (status 429)\n\
             hint: wait some minutes, or set HF_TOKEN; what has come so far is kept"
        ),
        (Some(status), _) => anyhow!(
            "the hub answers with status {status} for {what} of `{id}`\n\
             hint: try again later; what has come so far is kept"
        ),
        (None, ApiError::RequestError(error)) => anyhow!(
            "failed to reach the hub for {what} of `{id}`: {error}\n\
             hint: it needs the network; HTTPS_PROXY names a proxy, HF_ENDPOINT another hub"
        ),
        (None, ApiError::LockAcquisition(path)) => anyhow!(
            "another program downloads {what} of `{id}` (`{}`)\nhint: wait for its end",
            path.display()
        ),
        (None, error) => anyhow!(
            "failed to download {what} of `{id}`: {error}\n\
             hint: run it again; it goes on where it broke"
        ),
    }
}
