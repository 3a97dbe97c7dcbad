//! Text to ids and back, and the chat template: the only place where text meets ids.
//!
//! Does not know what is asked. Small models train a byte-level BPE on their own corpus, so any
//! string has ids; the file is an ordinary `tokenizer.json`.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use minijinja::value::Serde;
use minijinja::{Environment, Value, context};
use serde::{Deserialize, Serialize};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, TokenizerBuilder};

use crate::config::{SpecialIds, VlmConfig};

const IMAGE_PAD: &str = "<|image_pad|>";
const SPECIAL: [&str; 6] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    IMAGE_PAD,
];
/// Words of the study's template that are one token each, as `<think>` is in Qwen3's vocabulary.
const ADDED: [&str; 3] = ["<think>", "</think>", "\\boxed{"];
/// A word with its space, digits included, so that `b2` is one token.
const WORDS: &str = r" ?[\p{L}\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+";
/// Qwen2.5-VL's turns without its default system prompt, which a model this small would only carry.
const CHAT_TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n\
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}\
{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>\
{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}\
{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// `tokenizer_config.json`, as far as it is needed here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenizerConfig {
    pub tokenizer_class: String,
    pub chat_template: String,
    pub eos_token: String,
    pub pad_token: String,
}

/// One part of a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    Image,
    Text { text: String },
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    pub role: &'static str,
    pub content: Vec<Part>,
}

pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    config: TokenizerConfig,
    templates: Environment<'static>,
    pub ids: SpecialIds,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} entries)", self.vocab_size())
    }
}

impl Message {
    /// A user's turn: pictures first, then text.
    pub fn user(num_images: usize, text: &str) -> Message {
        let mut content = vec![Part::Image; num_images];
        content.push(Part::Text { text: text.to_owned() });
        Message { role: "user", content }
    }

    /// The model's turn.
    pub fn assistant(text: &str) -> Message {
        Message { role: "assistant", content: vec![Part::Text { text: text.to_owned() }] }
    }
}

impl Tokenizer {
    /// Trains a byte-level BPE of at most `vocab_size` entries on `corpus`.
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
        let config = TokenizerConfig {
            tokenizer_class: "Qwen2Tokenizer".into(),
            chat_template: CHAT_TEMPLATE.into(),
            eos_token: "<|im_end|>".into(),
            pad_token: "<|endoftext|>".into(),
        };
        Tokenizer::from_json(&json, config)
    }

    /// Reads `tokenizer.json` and `tokenizer_config.json` of `dir` and checks them against `config`.
    ///
    /// # Errors
    /// If a file is missing or damaged, or the vocabulary is not the model's.
    pub fn read(dir: &Path, config: &VlmConfig) -> Result<Tokenizer> {
        let text = |name: &str| {
            let path = dir.join(name);
            std::fs::read_to_string(&path)
                .with_context(|| format!("failed to read `{}`", path.display()))
        };
        let json = text("tokenizer.json")?;
        let settings =
            serde_json::from_str(&text("tokenizer_config.json")?).with_context(|| {
                format!("failed to parse `{}`", dir.join("tokenizer_config.json").display())
            })?;
        let tokenizer = Tokenizer::from_json(&json, settings)
            .with_context(|| format!("unusable tokenizer in `{}`", dir.display()))?;
        let (have, want) = (tokenizer.vocab_size(), config.vocab_size);
        if have > want {
            bail!(
                "tokenizer in `{}` has {have} entries, the model {want}\n\
                 hint: tokenizer.json and config.json belong to different models",
                dir.display()
            );
        }
        ensure!(
            tokenizer.ids.image == config.image_token_id
                && tokenizer.ids.eos == config.eos_token_id,
            "tokenizer in `{}` numbers `{IMAGE_PAD}` or the end of turn otherwise than config.json\n\
             hint: tokenizer.json and config.json belong to different models",
            dir.display()
        );
        Ok(tokenizer)
    }

    /// From the text of `tokenizer.json`.
    ///
    /// # Errors
    /// If it is damaged or lacks a token that the model needs.
    pub fn from_json(json: &str, config: TokenizerConfig) -> Result<Tokenizer> {
        let inner: tokenizers::Tokenizer =
            json.parse().map_err(|e| anyhow!("tokenizer.json does not parse: {e}"))?;
        let id = |token: &str| {
            inner.token_to_id(token).ok_or_else(|| anyhow!("tokenizer lacks `{token}`"))
        };
        let ids = SpecialIds {
            image: id(IMAGE_PAD)?,
            vision_start: id("<|vision_start|>")?,
            vision_end: id("<|vision_end|>")?,
            bos: id("<|endoftext|>")?,
            eos: id(&config.eos_token)?,
        };
        let mut templates = Environment::new();
        templates
            .add_template_owned("chat", config.chat_template.clone())
            .context("chat template does not parse")?;
        Ok(Tokenizer { inner, config, templates, ids })
    }

    /// The texts of `tokenizer.json` and `tokenizer_config.json`.
    pub fn to_json(&self) -> (String, String) {
        let json = self.inner.to_string(false).expect("a tokenizer is plain data");
        (json, serde_json::to_string_pretty(&self.config).expect("plain data") + "\n")
    }

    /// Entries, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Ids of `text`; special tokens in it are recognised.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let encoding =
            self.inner.encode_fast(text, false).expect("byte-level BPE encodes any string");
        encoding.get_ids().to_vec()
    }

    /// Text of `ids`, special tokens left out.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.inner.decode(ids, true).expect("ids come from this vocabulary")
    }

    /// The conversation as text, with the model's turn opened if `open`.
    ///
    /// # Errors
    /// If the checkpoint's template fails on it.
    pub fn render(&self, messages: &[Message], open: bool) -> Result<String> {
        let template = self.templates.get_template("chat").context("no chat template")?;
        template.render(context! { messages => Value::from(Serde(messages)), add_generation_prompt => open }).context("chat template failed")
    }

    /// Replaces each image token by as many as its picture has.
    ///
    /// # Errors
    /// If there are more or fewer places than pictures.
    pub fn expand_images(&self, ids: &[u32], num_tokens: &[usize]) -> Result<Vec<u32>> {
        let places = ids.iter().filter(|&&id| id == self.ids.image).count();
        ensure!(
            places == num_tokens.len(),
            "prompt has {places} places for pictures and {} pictures\nhint: give one picture for each place",
            num_tokens.len()
        );
        let mut counts = num_tokens.iter();
        let repeat = |&id: &u32| {
            let count =
                if id == self.ids.image { *counts.next().expect("counted above") } else { 1 };
            std::iter::repeat_n(id, count)
        };
        Ok(ids.iter().flat_map(repeat).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        let corpus = (0..50).map(|_| "<think> b2 up 1 b1 red </think>\\boxed{red}".to_owned());
        Tokenizer::train(corpus, 320).unwrap()
    });

    #[test]
    fn words_of_the_corpus_and_the_template_are_single_tokens() {
        assert_eq!(TOKENIZER.encode(" b2 up 1 red").len(), 4);
        assert_eq!(TOKENIZER.encode("<think></think>\\boxed{red}").len(), 5);
    }

    #[test]
    fn special_tokens_are_single_ids_and_decode_to_nothing() {
        for token in SPECIAL {
            let ids = TOKENIZER.encode(token);
            assert_eq!(ids.len(), 1, "{token} is {ids:?}");
            assert_eq!(TOKENIZER.decode(&ids), "", "{token}");
        }
    }

    #[test]
    fn a_written_tokenizer_reads_back_the_same() {
        let (json, _) = TOKENIZER.to_json();
        let again = Tokenizer::from_json(&json, TOKENIZER.config.clone()).unwrap();
        let text = "<|im_start|>user\n<think> b2 \u{1f600}</think>";
        assert_eq!(again.encode(text), TOKENIZER.encode(text));
    }

    #[test]
    fn the_template_opens_the_turn_and_places_pictures() {
        let text =
            TOKENIZER.render(&[Message::user(1, "hi"), Message::assistant("yo")], true).unwrap();
        let want = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>hi<|im_end|>\n\
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
    }
}
