//! Makes each artifact once, even if several processes use one store.
//!
//! Does not know what an artifact holds.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, bail};
use synergy_hint::hint;

use crate::key::Key;
use crate::run::event::{Events, interrupted};
use crate::run::store::{Lock, Store};

/// Time between two attempts to get a lock: short beside any stage, long beside an attempt.
const WAIT: Duration = Duration::from_millis(200);

/// The artifact `key`, called `what` in messages: `find` reads it if it is there, else `make` makes it. While another
/// process makes it, this one waits.
///
/// # Errors
/// If `find` or `make` fails, the store cannot be locked, or somebody asked to stop while it waited.
pub(super) fn once<T>(
    store: &Store,
    key: &Key,
    what: &str,
    events: &mut Events,
    find: impl Fn(&mut Events) -> Result<Option<T>>,
    make: impl FnOnce(&mut Events) -> Result<T>,
) -> Result<T> {
    if let Some(found) = find(events)? {
        return Ok(found);
    }
    let lock = wait(store, key, what, events)?;
    // Another process may have finished it since the first look.
    let artifact = match find(events)? {
        Some(found) => found,
        None => make(events)?,
    };
    lock.remove()?;
    Ok(artifact)
}

fn wait(store: &Store, key: &Key, what: &str, events: &Events) -> Result<Lock> {
    let mut has_waited = false;
    loop {
        if let Some(lock) = store.try_lock(key)? {
            return Ok(lock);
        }
        if !has_waited {
            events.say(&format!("  another process is working on {what}; this one waits for it"));
            has_waited = true;
        }
        if interrupted() {
            bail!(hint!(
                "interrupted while waiting for {what}",
                "the other process goes on; the same command takes what it has finished"
            ));
        }
        sleep(WAIT);
    }
}
