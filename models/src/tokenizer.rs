//! Text to ids and back, and the chat template: the only place where text meets ids.
//!
//! Does not know what is asked, nor how many tokens a picture has.
//!
//! The same code serves published Qwen2.5-VL checkpoints and the small models, which train a byte-level
//! BPE on their own corpus, so that any string has ids; the file is an ordinary `tokenizer.json`.
//!
//! `<|video_pad|>`, which engines look for, has the id of the byte 0xFF in the small vocabularies: no text holds that byte,
//! since it occurs in no UTF-8, so no other id and no row of the embedding is another for it.
//!
//! Truncation and padding in `tokenizer.json` are settings of the program that saved it; they are switched
//! off, as in the reference.

mod chat;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;
use serde_json::Value as Json;
use synergy_hint::hint;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, TokenizerBuilder};

use self::chat::ChatTemplate;
pub use self::chat::{Message, Part, TokenizerConfig};
use crate::qwen2_5_vl::config::{SpecialIds, VlmConfig};

const START: &str = "<|vision_start|>";
const END: &str = "<|vision_end|>";
const IMAGE_PAD: &str = "<|image_pad|>";
const VIDEO_PAD: &str = "<|video_pad|>";
const SPECIAL: [&str; 6] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", START, END, IMAGE_PAD];
/// Words of the study's template that are one token each, as `<think>` is in Qwen3's vocabulary.
const ADDED: [&str; 3] = ["<think>", "</think>", "\\boxed{"];
/// The entry of the byte 0xFF, whose id `<|video_pad|>` has.
const NO_TEXT: &str = "\u{ff}";
/// A word with its space, digits included, so that `b2` is one token.
const WORDS: &str = r" ?[\p{L}\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+";
/// What Qwen2.5's vocabulary takes for a word, and so does Qwen2's own class of `transformers` from 5.0 on, whatever
/// `tokenizer.json` says.
const QWEN_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The result of decoding bytes that are not, or not yet, a character.
const REPLACEMENT: char = '\u{fffd}';

/// A vocabulary with its chat template.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    config: TokenizerConfig,
    template: ChatTemplate,
    /// Ids of the special tokens.
    pub ids: SpecialIds,
}

/// A decoder of ids that are still being generated; see [`Tokenizer::stream`].
#[derive(Debug)]
pub struct StreamDecoder<'a> {
    tokenizer: &'a Tokenizer,
    /// Ids since the last whole character.
    held: Vec<u32>,
    /// Bytes of their text that were already returned.
    shown: usize,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} entries)", self.vocab_size())
    }
}

/// The special token that `text` holds, if it holds one: what a chat template is made of, and no text of a user.
pub fn special_in(text: &str) -> Option<&'static str> {
    SPECIAL.into_iter().chain([VIDEO_PAD]).find(|token| text.contains(token))
}

impl Tokenizer {
    /// Trains a byte-level BPE of at most `vocab_size` entries on `corpus`. The entry of the byte 0xFF, which no text
    /// holds, is `<|video_pad|>`.
    ///
    /// # Errors
    /// If the trainer fails.
    pub fn train(
        corpus: impl Iterator<Item = String> + Send,
        vocab_size: usize,
    ) -> Result<Tokenizer> {
        let special: Vec<AddedToken> = SPECIAL.iter().map(|t| AddedToken::from(*t, true)).collect();
        let added: Vec<AddedToken> =
            ADDED.iter().map(|t| AddedToken::from(*t, false).normalized(false)).collect();
        let split =
            Split::new(SplitPattern::Regex(WORDS.into()), SplitDelimiterBehavior::Isolated, false)
                .map_err(|e| anyhow!("bad word pattern: {e}"))?;
        let words = Sequence::new(vec![split.into(), ByteLevel::new(false, false, false).into()]);
        let mut tokenizer = TokenizerBuilder::<
            BPE,
            tokenizers::NormalizerWrapper,
            Sequence,
            ByteLevel,
            ByteLevel,
        >::default()
        .with_model(BPE::default())
        .with_pre_tokenizer(Some(words))
        .with_decoder(Some(ByteLevel::new(false, false, false)))
        .build()
        .map_err(|e| anyhow!("failed to build the tokenizer: {e}"))?;
        let mut trainer = BpeTrainer::builder()
            .vocab_size(vocab_size - ADDED.len())
            .min_frequency(2)
            .show_progress(false)
            .special_tokens(special)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        tokenizer
            .train(&mut trainer, corpus)
            .map_err(|e| anyhow!("failed to train the tokenizer: {e}"))?;
        // Not before training: the trainer would number them first and then give the same ids to
        // the special tokens, which lose their mark by it.
        tokenizer.add_tokens(added).map_err(|e| anyhow!("failed to add tokens: {e}"))?;
        let json =
            tokenizer.to_string(true).map_err(|e| anyhow!("failed to write the tokenizer: {e}"))?;
        Tokenizer::from_json(&with_video(&json)?, TokenizerConfig::small())
    }

    /// Reads the tokenizer of `dir` and checks it against `config`. It may have fewer entries than
    /// the model: the published models have 151936 rows for 151665 entries.
    ///
    /// # Errors
    /// If a file is missing or damaged, or the vocabulary is not the model's.
    pub fn read(dir: &Path, config: &VlmConfig) -> Result<Tokenizer> {
        let path = dir.join("tokenizer.json");
        let (json, settings) = (chat::text(&path)?, TokenizerConfig::read(dir)?);
        let (inner, ids) = vocabulary(&json, &settings)
            .with_context(|| format!("unusable tokenizer `{}`", path.display()))?;
        let have = inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        ensure!(
            have <= config.vocab_size,
            hint!(
                (
                    "tokenizer `{}` has {have} entries, the model {}",
                    path.display(),
                    config.vocab_size
                ),
                "tokenizer.json and config.json belong to different models"
            )
        );
        for (token, id, field, want) in [
            (IMAGE_PAD, Some(ids.image), "image_token_id", Some(config.image_token_id)),
            (VIDEO_PAD, ids.video, "video_token_id", config.video_token_id.or(ids.video)),
            (
                START,
                Some(ids.vision_start),
                "vision_start_token_id",
                Some(config.vision_start_token_id),
            ),
            (&settings.eos_token, Some(ids.eos), "eos_token_id", Some(config.eos_token_id)),
        ] {
            ensure!(
                id == want,
                hint!(
                    (
                        "tokenizer `{}` numbers `{token}` otherwise than `{field}` of config.json",
                        path.display()
                    ),
                    "tokenizer.json and config.json belong to different models"
                )
            );
        }
        Tokenizer::new(inner, ids, settings)
    }

    /// Makes a tokenizer of the text of a `tokenizer.json`.
    ///
    /// # Errors
    /// If it is damaged or lacks a token that the model needs, or the template does not parse.
    pub fn from_json(json: &str, config: TokenizerConfig) -> Result<Tokenizer> {
        let (inner, ids) =
            vocabulary(json, &config).context("unusable tokenizer `tokenizer.json`")?;
        Tokenizer::new(inner, ids, config)
    }

    fn new(
        inner: tokenizers::Tokenizer,
        ids: SpecialIds,
        config: TokenizerConfig,
    ) -> Result<Tokenizer> {
        let template = config.template()?;
        Ok(Tokenizer { inner, config, template, ids })
    }

    /// Returns the texts of `tokenizer.json` and of `tokenizer_config.json`, which holds the template. Where Qwen2's
    /// class would cut text otherwise than `tokenizer.json`, the class that reads that file is written.
    pub fn to_json(&self) -> (String, String) {
        let json = self.inner.to_string(false).expect("a tokenizer is plain data");
        (json, self.config.to_json(!self.is_cut_by_its_class()))
    }

    /// Tells whether the class in `tokenizer_config.json` gives the ids that `tokenizer.json` means.
    fn is_cut_by_its_class(&self) -> bool {
        // Without a class, that of the model's architecture is taken.
        let class = self.config.fields.get("tokenizer_class").and_then(Json::as_str);
        if !class.unwrap_or("Qwen2Tokenizer").starts_with("Qwen2Tokenizer") {
            return true;
        }
        let field = |part: Option<Json>, pointer: &str| part?.pointer(pointer).cloned();
        let normalizer = self.inner.get_normalizer().and_then(|n| serde_json::to_value(n).ok());
        let words = self.inner.get_pre_tokenizer().and_then(|p| serde_json::to_value(p).ok());
        field(normalizer, "/type") == Some("NFC".into())
            && field(words, "/pretokenizers/0/pattern/Regex") == Some(QWEN_WORDS.into())
    }

    /// Returns the text of the chat template.
    pub fn chat_template(&self) -> &str {
        self.config.chat_template()
    }

    /// Returns the text of the entry `id`: the name of a special token, the decoding of any other, which may be a part
    /// of a character. It is empty for ids beyond the vocabulary.
    pub fn token(&self, id: u32) -> String {
        match self.inner.get_added_tokens_decoder().get(&id) {
            Some(special) => special.content.clone(),
            None => self.decode(&[id]),
        }
    }

    /// The id of every entry, added tokens included.
    pub fn ids_by_token(&self) -> BTreeMap<String, u32> {
        self.inner.get_vocab(true).into_iter().collect()
    }

    /// Counts the entries, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Encodes `text`; special tokens in it are recognised.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let encoding =
            self.inner.encode_fast(text, false).expect("byte-level BPE encodes any string");
        encoding.get_ids().to_vec()
    }

    /// Decodes `ids`, special tokens and ids beyond the vocabulary left out.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.inner.decode(ids, true).expect("byte-level BPE decodes any ids")
    }

    /// Makes a decoder of ids that are still being generated.
    pub fn stream(&self) -> StreamDecoder<'_> {
        StreamDecoder { tokenizer: self, held: Vec::new(), shown: 0 }
    }

    /// Renders a conversation as text, with the model's turn opened if `open`.
    ///
    /// # Errors
    /// If the checkpoint's template fails on it.
    pub fn render(&self, messages: &[Message], open: bool) -> Result<String> {
        self.template.render(&messages, open, false)
    }

    /// Replaces each image token by as many as its picture has.
    ///
    /// # Errors
    /// If there are more or fewer places than pictures.
    pub fn expand_images(&self, ids: &[u32], num_tokens: &[usize]) -> Result<Vec<u32>> {
        self.expand(ids, num_tokens, &[])
    }

    /// Replaces each image token by as many as its picture has, and each video token likewise. A token
    /// that the user typed counts as well, as in the reference.
    ///
    /// # Errors
    /// If there are more or fewer places than pictures or videos.
    pub fn expand(
        &self,
        ids: &[u32],
        num_image_tokens: &[usize],
        num_video_tokens: &[usize],
    ) -> Result<Vec<u32>> {
        let places = |token| ids.iter().filter(|&&id| Some(id) == token).count();
        for (what, marker, places, given) in [
            ("picture", IMAGE_PAD, places(Some(self.ids.image)), num_image_tokens.len()),
            ("video", VIDEO_PAD, places(self.ids.video), num_video_tokens.len()),
        ] {
            let hint = if places > given {
                format!("give one {what} for each `{marker}`, or take it out of the text")
            } else {
                format!("put `{START}{marker}{END}` where the {what} belongs")
            };
            ensure!(
                places == given,
                hint!("prompt has {places} `{marker}`, {what}s given: {given}", "{hint}")
            );
        }
        let (mut images, mut videos) = (num_image_tokens.iter(), num_video_tokens.iter());
        let repeat = |&id: &u32| {
            let count = if id == self.ids.image {
                images.next()
            } else if Some(id) == self.ids.video {
                videos.next()
            } else {
                Some(&1)
            };
            std::iter::repeat_n(id, *count.expect("counted above"))
        };
        Ok(ids.iter().flat_map(repeat).collect())
    }
}

impl StreamDecoder<'_> {
    /// Returns the text that `id` adds, without a character that is still incomplete. All returned texts
    /// and [`StreamDecoder::finish`] together are [`Tokenizer::decode`] of all ids.
    pub fn push(&mut self, id: u32) -> String {
        self.held.push(id);
        let text = self.tokenizer.decode(&self.held);
        // The last replacement character may still change; everything before it is final. The
        // `tokenizers` crate's own stream holds back everything and cannot return the rest.
        let end = text.strip_suffix(REPLACEMENT).map_or(text.len(), str::len);
        let added = text[self.shown..end].to_owned();
        self.shown = end;
        if end == text.len() {
            self.held.clear();
            self.shown = 0;
        }
        added
    }

    /// Returns the rest when no more ids come: nothing, or a replacement character.
    pub fn finish(self) -> String {
        self.tokenizer.decode(&self.held)[self.shown..].to_owned()
    }
}

/// Gives the id of the byte 0xFF in the text of a `tokenizer.json` to `<|video_pad|>`.
fn with_video(json: &str) -> Result<String> {
    let mut file: Json = serde_json::from_str(json).context("a tokenizer is plain data")?;
    let vocab = file.pointer_mut("/model/vocab").and_then(Json::as_object_mut);
    let vocab = vocab.context("a tokenizer has a vocabulary")?;
    let id = vocab.remove(NO_TEXT).context("every byte has an entry")?;
    vocab.insert(VIDEO_PAD.into(), id.clone());
    let added = file["added_tokens"].as_array_mut().context("a tokenizer has special tokens")?;
    let mut token = added.first().context("a tokenizer has special tokens")?.clone();
    (token["id"], token["content"]) = (id, VIDEO_PAD.into());
    added.push(token);
    Ok(file.to_string())
}

/// Parses and checks the vocabulary in a `tokenizer.json`.
fn vocabulary(json: &str, config: &TokenizerConfig) -> Result<(tokenizers::Tokenizer, SpecialIds)> {
    #[derive(Deserialize)]
    struct Numbered {
        id: u32,
        content: String,
    }
    #[derive(Deserialize)]
    struct Added {
        #[serde(default)]
        added_tokens: Vec<Numbered>,
    }

    let damaged = "the file is damaged or of another kind; copy it from the checkpoint again";
    let mut inner: tokenizers::Tokenizer =
        json.parse().map_err(|e| anyhow!(hint!("does not parse: {e}", "{damaged}")))?;
    let added: Added = serde_json::from_str(json)
        .map_err(|e| anyhow!(hint!("does not parse: {e}", "{damaged}")))?;
    inner.with_padding(None);
    inner.with_truncation(None).expect("only a length can be refused");
    let id = |token: &str| {
        inner.token_to_id(token).ok_or_else(|| {
            anyhow!(hint!("lacks `{token}`", "this suite runs tokenizers of Qwen2.5-VL"))
        })
    };
    let ids = SpecialIds {
        image: id(IMAGE_PAD)?,
        vision_start: id(START)?,
        vision_end: id(END)?,
        bos: id("<|endoftext|>")?,
        eos: id(&config.eos_token)?,
        video: inner.token_to_id(VIDEO_PAD),
    };
    // The parser numbers added tokens in order, whatever the file says.
    let listed = config.fields.get("added_tokens_decoder").and_then(Json::as_object);
    let listed = listed
        .into_iter()
        .flatten()
        .filter_map(|(id, token)| Some((id.parse().ok()?, token.get("content")?.as_str()?)));
    let numbered = added.added_tokens.iter().map(|token| (token.id, token.content.as_str()));
    for (id, token) in numbered.chain(listed) {
        if inner.token_to_id(token) != Some(id) {
            bail!(hint!(
                "does not give `{token}` the id {id} that is written for it",
                "tokenizer.json and tokenizer_config.json must list the same added tokens"
            ));
        }
    }
    // With all bytes of UTF-8 among its entries it can encode any string.
    let is_of_text = |c: &char| !matches!(c, '\u{c0}' | '\u{c1}' | '\u{f5}'..='\u{ff}');
    let probe = " b2\n\u{e9}\u{4f60}\u{1f642}";
    let mut bytes = ByteLevel::alphabet().into_iter().filter(is_of_text);
    let bytes = bytes.all(|c| inner.token_to_id(&c.to_string()).is_some());
    let encoded = inner.encode_fast(probe, false).map(|e| e.get_ids().to_vec());
    let decoded = encoded.and_then(|ids| inner.decode(&ids, true));
    ensure!(
        bytes && decoded.is_ok_and(|text| text == probe),
        hint!("is not a byte-level BPE", "this suite runs tokenizers of Qwen2.5-VL")
    );
    Ok((inner, ids))
}

#[cfg(test)]
mod tests {
    use super::chat::PLAIN_CLASS;
    use super::chat::tests::{fixture, messages, names_file_and_cause};
    use super::*;
    use crate::qwen2_5_vl::config::Preset;
    use crate::tests::fixtures;
    use proptest::prelude::*;
    use serde_json::{Map, json};
    use std::collections::HashMap;
    use std::sync::LazyLock;
    use tokenizers::NormalizedString;

    const QWEN_PLAIN: usize = 151_643;
    const QWEN_ROWS: usize = 151_936;
    const QWEN_ADDED: usize = 22;

    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        let corpus = (0..50).map(|_| "<think> b2 up 1 b1 red </think>\\boxed{red}".to_owned());
        Tokenizer::train(corpus, 320).unwrap()
    });

    /// The published tokenizer, read from a folder like the published one. Takes about a second, so
    /// few tests use it: each has a process of its own.
    static QWEN: LazyLock<Tokenizer> = LazyLock::new(|| {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, json: Json| {
            std::fs::write(dir.path().join(name), json.to_string()).unwrap();
        };
        let template = fixture("chat_template.jinja");
        write("tokenizer.json", qwen_json());
        write("tokenizer_config.json", qwen_settings());
        write("chat_template.json", json!({ "chat_template": template }));
        let config = VlmConfig::preset(Preset::Nano, QWEN_ROWS, SpecialIds::PUBLISHED);
        Tokenizer::read(dir.path(), &config).unwrap()
    });

    /// Ids and entries of the added tokens, of which the last eight are not special.
    fn added_tokens() -> impl Iterator<Item = (usize, Json)> {
        let ranked = tiktoken::get_encoding("qwen2").unwrap();
        (QWEN_PLAIN..QWEN_PLAIN + QWEN_ADDED).map(|id| {
            let token = json!({
                "id": id, "content": ranked.decode_to_string(&[id as u32]).unwrap(),
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                "special": id < QWEN_PLAIN + 14,
            });
            (id, token)
        })
    }

    /// The published `tokenizer.json`. A merge is not in a list of ranked tokens, but follows from
    /// it: it joins the two parts at which a token's own bytes stop with lower ranks only.
    fn qwen_json() -> Json {
        let ranked = tiktoken::get_encoding("qwen2").unwrap();
        let tokens: Vec<Vec<u8>> = (0..QWEN_PLAIN).map(|id| ranked.decode(&[id as u32])).collect();
        let ranks: HashMap<&[u8], usize> =
            tokens.iter().enumerate().map(|(rank, token)| (&token[..], rank)).collect();
        // The byte alphabet of GPT-2: printable Latin-1 stands for itself, the rest from 256 on.
        let printable = |b: u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
        let mut others = (256..).filter_map(char::from_u32);
        let mut alphabet: Vec<char> = (0..=255u8).map(char::from).collect();
        alphabet
            .iter_mut()
            .filter(|c| !printable(**c as u8))
            .for_each(|c| *c = others.next().unwrap());
        let name =
            |bytes: &[u8]| bytes.iter().map(|&b| alphabet[usize::from(b)]).collect::<String>();
        let merge = |(rank, token): (usize, &Vec<u8>)| {
            let mut cuts: Vec<usize> = (0..=token.len()).collect();
            let joined = |cuts: &[usize], i: usize| {
                ranks.get(&token[cuts[i]..cuts[i + 2]]).copied().filter(|&joined| joined < rank)
            };
            while let Some((_, i)) =
                (0..cuts.len() - 2).filter_map(|i| Some((joined(&cuts, i)?, i))).min()
            {
                cuts.remove(i + 1);
            }
            assert_eq!(cuts.len(), 3, "{} is no merge of two", name(token));
            [name(&token[..cuts[1]]), name(&token[cuts[1]..])]
        };
        let merges: Vec<[String; 2]> =
            tokens.iter().enumerate().filter(|(_, token)| token.len() > 1).map(merge).collect();
        let vocab: HashMap<String, usize> =
            tokens.iter().enumerate().map(|(rank, token)| (name(token), rank)).collect();
        let added: Vec<Json> = added_tokens().map(|(_, token)| token).collect();
        let byte_level = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false,
        });
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
            "normalizer": { "type": "NFC" },
            "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
                { "type": "Split", "pattern": { "Regex": QWEN_WORDS }, "behavior": "Isolated", "invert": false },
                byte_level,
            ] },
            "post_processor": byte_level,
            "decoder": byte_level,
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
                "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": vocab, "merges": merges,
            },
        })
    }

    /// The published `tokenizer_config.json`, its template left to a file of its own.
    fn qwen_settings() -> Json {
        let listed: Map<String, Json> =
            added_tokens().map(|(id, token)| (id.to_string(), token)).collect();
        json!({
            "add_bos_token": false, "add_prefix_space": false, "added_tokens_decoder": listed,
            "bos_token": null, "clean_up_tokenization_spaces": false, "eos_token": "<|im_end|>", "errors": "replace",
            "model_max_length": 131_072, "pad_token": "<|endoftext|>", "split_special_tokens": false,
            "tokenizer_class": "Qwen2Tokenizer", "unk_token": null,
        })
    }

    fn ids(json: &Json) -> Vec<u32> {
        json.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
    }

    fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
        let mut stream = tokenizer.stream();
        let text: String = ids.iter().map(|&id| stream.push(id)).collect();
        text + &stream.finish()
    }

    /// A folder with the small tokenizer's files, these of them replaced.
    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, VlmConfig) {
        let dir = tempfile::tempdir().unwrap();
        let (json, settings) = TOKENIZER.to_json();
        let ours = [("tokenizer.json", &json[..]), ("tokenizer_config.json", &settings[..])];
        for (name, text) in ours.iter().chain(files) {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        (dir, VlmConfig::preset(Preset::Nano, TOKENIZER.vocab_size() + 7, TOKENIZER.ids))
    }

    #[test]
    fn ids_of_the_published_vocabulary_are_those_of_the_reference() {
        assert_eq!(QWEN.vocab_size(), QWEN_PLAIN + QWEN_ADDED);
        let rows: Json = serde_json::from_str(&fixture("ids.json")).unwrap();
        let rows = rows["texts"].as_array().unwrap();
        assert_eq!(rows.len(), 60);
        for row in rows {
            let (text, want) = (row["text"].as_str().unwrap(), ids(&row["ids"]));
            assert_eq!(QWEN.encode(text), want, "{text:?}");
            assert_eq!(QWEN.decode(&want), row["decoded"].as_str().unwrap(), "{text:?}");
            assert_eq!(streamed(&QWEN, &want), row["decoded"].as_str().unwrap(), "{text:?}");
        }
        let chat: Json = serde_json::from_str(&fixture("chat.json")).unwrap();
        for row in chat["expanded"].as_array().unwrap() {
            let named = |c: &&Json| c["name"] == row["conversation"];
            let conversation = chat["conversations"].as_array().unwrap().iter().find(named);
            let prompt = QWEN.render(&messages(conversation.unwrap()), true).unwrap();
            let grids = row["image_grid_thw"].as_array().unwrap().iter();
            let counts: Vec<usize> =
                grids.map(|g| ids(g).iter().product::<u32>() as usize / 4).collect();
            let expanded = QWEN.expand_images(&QWEN.encode(&prompt), &counts).unwrap();
            assert_eq!(expanded, ids(&row["ids"]), "{}", row["conversation"]);
        }
    }

    #[test]
    fn each_picture_and_each_video_gets_its_tokens() {
        let marked = QWEN.encode("a<|video_pad|>b<|image_pad|>c<|image_pad|>");
        let expanded = QWEN.expand(&marked, &[2, 1], &[3]).unwrap();
        let want =
            "a<|video_pad|><|video_pad|><|video_pad|>b<|image_pad|><|image_pad|>c<|image_pad|>";
        assert_eq!(expanded, QWEN.encode(want));
        for (images, videos, cause) in [
            (
                &[2, 1, 4][..],
                &[3][..],
                "prompt has 2 `<|image_pad|>`, pictures given: 3\nhint: put",
            ),
            (&[2], &[3], "prompt has 2 `<|image_pad|>`, pictures given: 1\nhint: give one picture"),
            (&[2, 1], &[], "prompt has 1 `<|video_pad|>`, videos given: 0\nhint: give one video"),
            (&[2, 1], &[3, 3], "prompt has 1 `<|video_pad|>`, videos given: 2\nhint: put"),
        ] {
            let error = synergy_hint::text(&QWEN.expand(&marked, images, videos).unwrap_err());
            assert!(error.starts_with(cause), "{error}");
        }
    }

    /// The small tokenizer as it was before it had `<|video_pad|>`: its texts.
    fn without_videos() -> (String, String) {
        let (json, settings) = TOKENIZER.to_json();
        let mut json: Json = serde_json::from_str(&json).unwrap();
        let vocab = json["model"]["vocab"].as_object_mut().unwrap();
        let id = vocab.remove(VIDEO_PAD).unwrap();
        vocab.insert(NO_TEXT.into(), id);
        json["added_tokens"].as_array_mut().unwrap().retain(|t| t["content"] != VIDEO_PAD);
        let mut settings: Json = serde_json::from_str(&settings).unwrap();
        settings["tokenizer_class"] = "Qwen2Tokenizer".into();
        settings.as_object_mut().unwrap().remove("model_input_names");
        (json.to_string(), settings.to_string())
    }

    #[test]
    fn a_vocabulary_without_videos_takes_none_and_has_the_same_ids() {
        let (json, settings) = without_videos();
        let (dir, _) = folder(&[("tokenizer.json", &json), ("tokenizer_config.json", &settings)]);
        let old = VlmConfig::preset(Preset::Nano, TOKENIZER.vocab_size(), fixtures::IDS);
        let old = VlmConfig {
            image_token_id: TOKENIZER.ids.image,
            vision_start_token_id: TOKENIZER.ids.vision_start,
            eos_token_id: TOKENIZER.ids.eos,
            ..old
        };
        let old = Tokenizer::read(dir.path(), &old).unwrap();
        assert_eq!((old.ids.video, old.vocab_size()), (None, TOKENIZER.vocab_size()));
        let error = old.expand(&old.encode("a"), &[], &[4]).unwrap_err();
        assert!(error.to_string().starts_with("prompt has 0 `<|video_pad|>`, videos given: 1"));
        // Not even the letter of that name in the byte alphabet uses the entry.
        for text in [NO_TEXT, "a\u{fffd}\u{10ffff}\u{1f642} b2 up", "<think>\u{e9}\u{7ff}</think>"]
        {
            assert_eq!(old.encode(text), TOKENIZER.encode(text), "{text}");
            assert!(!TOKENIZER.encode(text).contains(&TOKENIZER.ids.video.unwrap()), "{text}");
        }
        // Saved again, it names a class that cuts text as its tokenizer.json does.
        assert!(settings.contains("\"Qwen2Tokenizer\""));
        let saved: Json = serde_json::from_str(&old.to_json().1).unwrap();
        assert_eq!(saved["tokenizer_class"], PLAIN_CLASS);
        assert_eq!(saved["model_input_names"], json!(["input_ids", "attention_mask"]));
        assert!(!QWEN.to_json().1.contains(PLAIN_CLASS), "a published one keeps its own");
    }

    #[test]
    fn a_damaged_or_foreign_vocabulary_is_named() {
        const TOKENS: &str = "tokenizer.json";
        const SETTINGS: &str = "tokenizer_config.json";
        let (json, settings) = TOKENIZER.to_json();
        let changed = |text: &str, from: &str, to: &str| {
            assert!(text.contains(from), "{from} is not in it");
            text.replacen(from, to, 1)
        };
        let unlisted = json.replace("<|image_pad|>", "<image>");
        let misnumbered = changed(&json, r#"{"id":5,"#, r#"{"id":6,"#);
        let undecoded =
            changed(&json, r#""decoder":{"type":"ByteLevel""#, r#""decoder":{"type":"Fuse""#);
        let listed = r#"{"added_tokens_decoder": {"900": {"content": "<think>"}},"#;
        for (file, content, cause) in [
            (TOKENS, &json[..json.len() / 2], "does not parse"),
            (TOKENS, &unlisted, "lacks `<|image_pad|>`"),
            (TOKENS, &misnumbered, "does not give `<|image_pad|>` the id 6"),
            (TOKENS, &undecoded, "not a byte-level BPE"),
            (SETTINGS, &changed(&settings, "{", listed), "does not give `<think>` the id 900"),
        ] {
            let (dir, config) = folder(&[(file, content)]);
            names_file_and_cause(&Tokenizer::read(dir.path(), &config).unwrap_err(), TOKENS, cause);
        }
    }

    #[test]
    fn a_tokenizer_of_another_model_is_refused() {
        let (dir, config) = folder(&[]);
        assert!(Tokenizer::read(dir.path(), &config).is_ok());
        let small = VlmConfig { vocab_size: TOKENIZER.vocab_size() - 1, ..config.clone() };
        let start = VlmConfig { vision_start_token_id: 9, ..config.clone() };
        let video = VlmConfig { video_token_id: Some(9), ..config.clone() };
        for (config, cause) in [
            (small, "entries, the model"),
            (start, "`vision_start_token_id`"),
            (video, "`video_token_id`"),
        ] {
            let error = Tokenizer::read(dir.path(), &config).unwrap_err();
            names_file_and_cause(&error, "tokenizer.json", cause);
        }
        std::fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
        let error = Tokenizer::read(dir.path(), &config).unwrap_err();
        names_file_and_cause(&error, "tokenizer.json", "failed to read");
    }

    #[test]
    fn truncation_and_padding_that_someone_saved_are_switched_off() {
        let mut json: Json = serde_json::from_str(&TOKENIZER.to_json().0).unwrap();
        json["truncation"] = json!({
            "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0,
        });
        json["padding"] = json!({
            "strategy": { "Fixed": 9 }, "direction": "Left", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>",
        });
        let (dir, config) = folder(&[("tokenizer.json", &json.to_string())]);
        let tokenizer = Tokenizer::read(dir.path(), &config).unwrap();
        assert_eq!(tokenizer.encode(" b2 up 1 red"), TOKENIZER.encode(" b2 up 1 red"));
    }

    #[test]
    fn a_stream_gives_out_each_character_as_soon_as_it_is_whole() {
        let bytes = TOKENIZER.encode("a\u{1f642}b");
        assert_eq!(bytes.len(), 6, "the picture is not split: {bytes:?}");
        let mut stream = TOKENIZER.stream();
        let steps: Vec<String> = bytes.iter().map(|&id| stream.push(id)).collect();
        assert_eq!(steps, ["a", "", "", "", "\u{1f642}", "b"]);
        let mut stream = TOKENIZER.stream();
        let steps: Vec<String> = bytes[..3].iter().map(|&id| stream.push(id)).collect();
        assert_eq!((steps.concat(), stream.finish()), ("a".into(), "\u{fffd}".into()));
    }

    #[test]
    fn words_of_the_corpus_and_the_template_are_single_tokens() {
        assert_eq!(TOKENIZER.encode(" b2 up 1 red").len(), 4);
        assert_eq!(TOKENIZER.encode("<think></think>\\boxed{red}").len(), 5);
    }

    #[test]
    fn special_tokens_are_single_ids_and_decode_to_nothing() {
        for token in SPECIAL.into_iter().chain([VIDEO_PAD]) {
            let ids = TOKENIZER.encode(token);
            assert_eq!(ids.len(), 1, "{token} is {ids:?}");
            assert_eq!(TOKENIZER.decode(&ids), "", "{token}");
        }
    }

    #[test]
    fn a_picture_may_be_given_in_every_form_that_the_published_template_takes() {
        let template = TOKENIZER.config.template().unwrap();
        let picture = "<|vision_start|><|image_pad|><|vision_end|>";
        for (part, want) in [
            (json!({"type": "image"}), picture),
            (json!({"type": "image", "image": "file:///a.png"}), picture),
            (json!({"type": "image_url", "image_url": {"url": "data:,"}}), picture),
            (json!({"image": "a.png"}), picture),
            (json!({"image_url": "a.png"}), picture),
            (json!({"type": "text", "text": "an image"}), "an image"),
        ] {
            let text = json!({"type": "text", "text": "?"});
            let turns = json!([{"role": "user", "content": [part, text]}]);
            let said = template.render(&turns, false, false).unwrap();
            assert_eq!(said, format!("<|im_start|>user\n{want}?<|im_end|>\n"), "{turns}");
        }
    }

    #[test]
    fn a_written_tokenizer_reads_back_the_same() {
        let (dir, config) = folder(&[]);
        let again = Tokenizer::read(dir.path(), &config).unwrap();
        assert_eq!(again.to_json(), TOKENIZER.to_json());
        let text = "<|im_start|>user\n<think> b2 \u{1f600}</think>";
        assert_eq!(again.encode(text), TOKENIZER.encode(text));
    }

    #[test]
    fn the_template_opens_the_turn_and_places_pictures() {
        let turns = [Message::system(" s\n"), Message::user(1, "hi"), Message::assistant("yo")];
        let text = TOKENIZER.render(&turns, true).unwrap();
        let want = "<|im_start|>system\n s\n<|im_end|>\n\
                    <|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>hi<|im_end|>\n\
                    <|im_start|>assistant\nyo<|im_end|>\n<|im_start|>assistant\n";
        assert_eq!(text, want);
        let ids = TOKENIZER.encode(&text);
        let expanded = TOKENIZER.expand_images(&ids, &[16]).unwrap();
        assert_eq!(expanded.len(), ids.len() + 15);
        assert!(TOKENIZER.expand_images(&ids, &[]).is_err());
    }

    proptest! {
        #[test]
        fn decoding_what_was_encoded_gives_it_back(text in "[^<]{0,40}") {
            prop_assert_eq!(TOKENIZER.decode(&TOKENIZER.encode(&text)), text);
        }

        #[test]
        fn published_ids_give_composed_text_back(text in ".{0,40}") {
            let mut composed = NormalizedString::from(text.as_str());
            composed.nfc();
            let ids = QWEN.encode(composed.get());
            prop_assert_eq!(&QWEN.encode(&text), &ids);
            prop_assert_eq!(QWEN.decode(&ids), composed.get());
            prop_assert_eq!(streamed(&QWEN, &ids), composed.get());
        }

        // Most ids of the small vocabulary are single bytes, so that few sequences are valid UTF-8.
        #[test]
        fn what_is_streamed_is_the_whole_text(ids in prop::collection::vec(0u32..330, 0..40)) {
            prop_assert_eq!(streamed(&TOKENIZER, &ids), TOKENIZER.decode(&ids));
        }
    }
}
