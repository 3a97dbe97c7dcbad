//! Answers of models, and where they are stored: a small file for each.
//!
//! Does not know who answered or what was asked.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use synergy_hint::{Explain as _, hint};
use synergy_report::completion::Unanswered;

use crate::key::Key;
use crate::run::store::write_atomic;

/// An answer, or why there is none.
pub type Answer = Result<Reply, Unanswered>;

/// An answer of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The whole text, a thought that the server sends apart included.
    pub text: String,
    /// Tokens of the answer as the endpoint counts them; `None` if it does not.
    pub num_tokens: Option<u32>,
    /// False when the length limit cut it.
    pub finished: bool,
    /// Fields of the request that the endpoint does not take, so that its own values held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// Replies on disk, one small file each.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// The cache in `dir`, which is created with the first reply.
    pub fn new(dir: &Path) -> Cache {
        Cache { dir: dir.to_owned() }
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.dir.join(&key.as_str()[..2]).join(format!("{}.json", key.as_str()))
    }

    /// Reads the reply under `key`, if there is one.
    ///
    /// # Errors
    /// If it cannot be read; half a file is never there.
    pub fn get(&self, key: &Key) -> Result<Option<Reply>> {
        let path = self.path(key);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("failed to read `{}`", path.display()));
            }
        };
        let reply = serde_json::from_str(&text).explain(|| {
            hint!(
                ("`{}` does not hold a reply", path.display()),
                "delete that file; its question is then asked again"
            )
        })?;
        Ok(Some(reply))
    }

    /// Stores `reply` under `key`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn put(&self, key: &Key, reply: &Reply) -> Result<()> {
        let text = serde_json::to_string(reply).context("a reply is plain data")?;
        write_atomic(&self.path(key), text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_reply_is_read_back_also_one_of_before_fields_were_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let [old, new] = ["old", "new"].map(|name| Key::of(&json!(name)));
        let reply = Reply {
            text: "a".to_owned(),
            num_tokens: Some(1),
            finished: true,
            left_out: Vec::new(),
        };
        write_atomic(&cache.path(&old), br#"{"text":"a","num_tokens":1,"finished":true}"#).unwrap();
        assert_eq!(cache.get(&old).unwrap(), Some(reply.clone()));
        let reply = Reply { left_out: vec!["min_p".to_owned()], ..reply };
        cache.put(&new, &reply).unwrap();
        assert_eq!(cache.get(&new).unwrap(), Some(reply));
        write_atomic(&cache.path(&old), b"{").unwrap();
        let error = synergy_hint::text(&cache.get(&old).unwrap_err());
        assert!(
            error.contains("does not hold a reply") && error.contains("\nhint: delete"),
            "{error}"
        );
    }
}
