//! Reading the three published forms of `config.json` field by field.
//!
//! Does not know what a value means beyond whether it is implemented. The forms: flat, as published;
//! with the decoder's fields under `text_config`, as `transformers` writes since 4.52; and with
//! `rope_parameters`, as it writes since 5.0. The fields of all three are named here: one that changes
//! the computation is read, or refused unless it has the one value that is implemented; one that
//! changes nothing is ignored; any other field is refused by name.
//!
//! Where `text_config` is there, `transformers` computes with it alone. The copies of its fields that
//! then stand at the top level are leftovers and not read.

use anyhow::{Result, bail, ensure};
use serde_json::Value;
use synergy_hint::hint;

use super::{ARCHITECTURE, DtypeField, RopeScaling, VISION_ROPE_THETA, VisionConfig, VlmConfig};
use crate::fields::{HINT, Section};

/// Fields about how a checkpoint was written or is loaded; they never change what it computes.
pub(crate) const INERT: [&str; 7] = [
    "_attn_implementation_autoset",
    "_name_or_path",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "use_cache",
    "vision_token_id",
];

/// The decoder's fields, of which the nested forms keep copies at the top level.
const TEXT_FIELDS: [&str; 19] = [
    "attention_dropout",
    "head_dim",
    "hidden_act",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "layer_types",
    "max_position_embeddings",
    "max_window_layers",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "sliding_window",
    "use_sliding_window",
    "vocab_size",
];

impl VlmConfig {
    /// Takes a config of any form apart. What the fields mean together is not checked.
    pub(super) fn take(mut top: Section) -> Result<VlmConfig> {
        let model_type: String = top.need("model_type")?;
        if model_type != "qwen2_5_vl" {
            bail!(hint!("model type is `{model_type}`", "this suite runs `qwen2_5_vl`"));
        }
        let architectures: Option<Vec<String>> = top.take("architectures")?;
        let architectures = architectures.unwrap_or_else(|| vec![ARCHITECTURE.into()]);
        if !architectures.iter().any(|a| a == ARCHITECTURE) {
            bail!(hint!("architectures are {architectures:?}", "this suite runs `{ARCHITECTURE}`"));
        }
        let dtype_field = DtypeField::of(&top);
        let media = MediaIds::take(&mut top)?;
        let vision = top.object("vision_config")?.ok_or_else(|| top.missing("vision_config"))?;
        let vision_config = VisionConfig::take(vision)?;
        let mut shared = Shared::take(&mut top)?;
        let mut nested = top.object("text_config")?;
        if let Some(text) = &mut nested {
            text.only::<String, _>("model_type", &["qwen2_5_vl_text", "qwen2_5_vl"])?;
            media.check_copies(text)?;
            shared = Shared::take(text)?.before(&shared)?;
        }
        let eos_token_id = shared.eos.ok_or_else(|| top.missing("eos_token_id"))?;
        let mut text = match nested {
            Some(mut text) => {
                text.skip(&["architectures"]);
                top.skip(&TEXT_FIELDS);
                top.finish(&INERT)?;
                text
            }
            None => top,
        };
        let num_attention_heads = text.need("num_attention_heads")?;
        let num_key_value_heads: Option<usize> = text.take("num_key_value_heads")?;
        let (rope_scaling, rope_theta) = take_rope(&mut text)?;
        let config = VlmConfig {
            architectures,
            model_type,
            hidden_act: "silu".into(),
            hidden_size: text.need("hidden_size")?,
            initializer_range: text.need("initializer_range")?,
            intermediate_size: text.need("intermediate_size")?,
            max_position_embeddings: text.need("max_position_embeddings")?,
            num_attention_heads,
            num_hidden_layers: text.need("num_hidden_layers")?,
            num_key_value_heads: num_key_value_heads.unwrap_or(num_attention_heads),
            rms_norm_eps: text.need("rms_norm_eps")?,
            rope_scaling,
            rope_theta,
            tie_word_embeddings: shared.tie.unwrap_or(false),
            vocab_size: text.need("vocab_size")?,
            image_token_id: media.image,
            video_token_id: media.video,
            vision_start_token_id: media.vision_start,
            vision_end_token_id: media.vision_end,
            bos_token_id: shared.bos,
            eos_token_id,
            pad_token_id: shared.pad,
            vision_config,
            dtype_field,
        };
        check_decoder(text, &config)?;
        Ok(config)
    }
}

impl DtypeField {
    /// The name in a config of any form; the older one where there is none, or both are.
    fn of(top: &Section) -> DtypeField {
        let decoder = top.fields.get("text_config").and_then(Value::as_object);
        let has =
            |name| top.fields.contains_key(name) || decoder.is_some_and(|d| d.contains_key(name));
        match has("dtype") && !has("torch_dtype") {
            true => DtypeField::Dtype,
            false => DtypeField::TorchDtype,
        }
    }
}

/// The ids that stand for pictures and videos.
struct MediaIds {
    image: u32,
    video: Option<u32>,
    vision_start: u32,
    vision_end: u32,
}

impl MediaIds {
    fn take(top: &mut Section) -> Result<MediaIds> {
        Ok(MediaIds {
            image: top.need("image_token_id")?,
            video: top.take("video_token_id")?,
            vision_start: top.need("vision_start_token_id")?,
            vision_end: top.need("vision_end_token_id")?,
        })
    }

    /// Refuses a `text_config` in which one of the ids is neither absent, nor null, nor the same.
    fn check_copies(&self, text: &mut Section) -> Result<()> {
        text.only::<u32, _>("image_token_id", &[self.image])?;
        text.only::<u32, _>("video_token_id", self.video.as_slice())?;
        text.only::<u32, _>("vision_start_token_id", &[self.vision_start])?;
        text.only::<u32, _>("vision_end_token_id", &[self.vision_end])
    }
}

/// Fields that may stand at the top level and in `text_config`.
struct Shared {
    tie: Option<bool>,
    bos: Option<u32>,
    eos: Option<u32>,
    pad: Option<u32>,
}

impl Shared {
    fn take(fields: &mut Section) -> Result<Shared> {
        Ok(Shared {
            tie: fields.take("tie_word_embeddings")?,
            bos: fields.take("bos_token_id")?,
            eos: fields.take("eos_token_id")?,
            pad: fields.take("pad_token_id")?,
        })
    }

    /// Gives the fields of `text_config` precedence over those at the top level, `outer`.
    fn before(self, outer: &Shared) -> Result<Shared> {
        if (self.tie, outer.tie) == (Some(false), Some(true)) {
            bail!(hint!(
                "`tie_word_embeddings` is true, `text_config.tie_word_embeddings` false",
                "versions of transformers differ on which one holds; remove one"
            ));
        }
        // The padding token of the top level is not the decoder's.
        Ok(Shared {
            tie: self.tie.or(outer.tie),
            bos: self.bos.or(outer.bos),
            eos: self.eos.or(outer.eos),
            pad: self.pad,
        })
    }
}

/// Checks the decoder's remaining fields against `config`, which was taken from the others.
fn check_decoder(mut text: Section, config: &VlmConfig) -> Result<()> {
    check_windows(&mut text, config.num_hidden_layers, config.max_position_embeddings)?;
    text.only::<String, _>("hidden_act", &["silu"])?;
    text.only::<f64, _>("attention_dropout", &[0.0])?;
    if let Some(head_dim) = text.take::<usize>("head_dim")? {
        ensure!(
            head_dim.checked_mul(config.num_attention_heads) == Some(config.hidden_size),
            hint!(
                (
                    "`head_dim` {head_dim} is not hidden_size {} / num_attention_heads {}",
                    config.hidden_size,
                    config.num_attention_heads
                ),
                "{HINT}"
            )
        );
    }
    text.finish(&INERT)
}

impl VisionConfig {
    fn take(mut fields: Section) -> Result<VisionConfig> {
        let own = ["qwen2_5_vl_vision", "qwen2_5_vl"];
        fields.only::<String, _>("model_type", &own)?;
        fields.only::<String, _>("hidden_act", &["silu"])?;
        // The reference reads `in_channels` and has 3 without it; published files say `in_chans`.
        fields.only::<usize, _>("in_channels", &[3])?;
        fields.only::<usize, _>("in_chans", &[3])?;
        if let Some(mut rope) = fields.object("rope_parameters")? {
            rope.only::<String, _>("rope_type", &["axial", "default"])?;
            rope.only::<f64, _>("rope_theta", &[VISION_ROPE_THETA])?;
            rope.finish(&INERT)?;
        }
        let patch_size = fields.need("patch_size")?;
        fields.only::<usize, _>("spatial_patch_size", &[patch_size])?;
        fields.skip(&["initializer_range"]);
        let config = VisionConfig {
            depth: fields.need("depth")?,
            hidden_act: "silu".into(),
            hidden_size: fields.need("hidden_size")?,
            intermediate_size: fields.need("intermediate_size")?,
            num_heads: fields.need("num_heads")?,
            in_chans: 3,
            out_hidden_size: fields.need("out_hidden_size")?,
            patch_size,
            spatial_merge_size: fields.need("spatial_merge_size")?,
            temporal_patch_size: fields.need("temporal_patch_size")?,
            window_size: fields.need("window_size")?,
            fullatt_block_indexes: fields.need("fullatt_block_indexes")?,
            tokens_per_second: fields.need("tokens_per_second")?,
        };
        fields.finish(&INERT)?;
        Ok(config)
    }
}

/// Takes the decoder's rotary settings: `rope_scaling` with `rope_theta` beside it, or `rope_parameters`
/// with `rope_theta` inside.
fn take_rope(text: &mut Section) -> Result<(RopeScaling, f64)> {
    let outer: Option<f64> = text.take("rope_theta")?;
    let mut rope = match (text.object("rope_scaling")?, text.object("rope_parameters")?) {
        (Some(rope), None) | (None, Some(rope)) => rope,
        (None, None) => return Err(text.missing("rope_scaling")),
        (Some(_), Some(_)) => bail!(hint!(
            "both `rope_scaling` and `rope_parameters` are given",
            "they are the older and the newer name of one field; remove one"
        )),
    };
    // "default" says that the frequencies are not scaled, which holds for "mrope" too.
    rope.only::<String, _>("type", &["mrope", "default"])?;
    rope.only::<String, _>("rope_type", &["mrope", "default"])?;
    let mrope_section = rope.need("mrope_section")?;
    let theta = match (outer, rope.take::<f64>("rope_theta")?) {
        (Some(outer), Some(inner)) if outer.to_bits() != inner.to_bits() => bail!(hint!(
            ("`{}rope_theta` is {outer} and `{}rope_theta` is {inner}", text.path, rope.path),
            "remove one"
        )),
        (outer, inner) => inner.or(outer).ok_or_else(|| text.missing("rope_theta"))?,
    };
    rope.finish(&INERT)?;
    Ok((RopeScaling { kind: "mrope".into(), mrope_section }, theta))
}

/// Refuses attention over a sliding window, unless it is switched off, concerns no layer, or sees as
/// far as the model reaches anyway. The defaults are those of the reference.
fn check_windows(text: &mut Section, layers: usize, reach: usize) -> Result<()> {
    let on = text.take("use_sliding_window")?.unwrap_or(false);
    let window = text.take("sliding_window")?.unwrap_or(4096);
    let first = text.take("max_window_layers")?.unwrap_or(80);
    let kinds: Option<Vec<String>> = text.take("layer_types")?;
    if let Some(kinds) = &kinds {
        ensure!(
            kinds.len() == layers,
            hint!(("`layer_types` has {} entries for {layers} layers", kinds.len()), "{HINT}")
        );
    }
    if let Some(other) =
        kinds.iter().flatten().find(|k| !["full_attention", "sliding_attention"].contains(&&***k))
    {
        bail!(hint!("layer type `{other}` is not implemented", "`full_attention` is"));
    }
    let slides =
        kinds.map_or(on && first < layers, |kinds| kinds.contains(&"sliding_attention".into()));
    ensure!(
        !slides || (on && window >= reach),
        hint!(
            "`sliding_window` attention over {window} of {reach} positions is not implemented",
            "set `use_sliding_window` to false if the model was trained without it"
        )
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nano() -> VlmConfig {
        crate::tests::fixtures::nano(300)
    }

    fn golden(path: &str) -> String {
        let path = format!("{}/../golden/{path}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    }

    fn read(form: &Value) -> Result<VlmConfig> {
        VlmConfig::from_json(&form.to_string())
    }

    /// `form` with `value` at `pointer`, whose object must exist.
    fn with(form: &Value, pointer: &str, value: Value) -> Value {
        let mut form = form.clone();
        let (object, name) = pointer.rsplit_once('/').unwrap();
        form.pointer_mut(object).unwrap()[name] = value;
        form
    }

    fn without(form: &Value, pointer: &str) -> Value {
        let mut form = form.clone();
        let (object, name) = pointer.rsplit_once('/').unwrap();
        form.pointer_mut(object).unwrap().as_object_mut().unwrap().remove(name).unwrap();
        form
    }

    /// The published `config.json` of the 3B model.
    const PUBLISHED_3B: &str = include_str!("../../tests/config-3b.json");

    /// That of the 32B model, in the form that transformers 4.49 writes.
    const PUBLISHED_32B: &str = include_str!("../../tests/config-32b.json");

    fn published_3b() -> Value {
        serde_json::from_str(PUBLISHED_3B).unwrap()
    }

    fn published_32b() -> Value {
        serde_json::from_str(PUBLISHED_32B).unwrap()
    }

    /// Those of the 7B and 72B models have the fields of the 3B one.
    fn published_7b() -> Value {
        published([3584, 28, 28, 4, 18_944, 28, 3420])
    }

    fn published_72b() -> Value {
        published([8192, 80, 64, 8, 29_568, 80, 3456])
    }

    fn published(sizes: [usize; 7]) -> Value {
        let [hidden, layers, heads, kv_heads, intermediate, max_window_layers, vision] = sizes;
        let fields = [
            ("/hidden_size", json!(hidden)),
            ("/num_hidden_layers", json!(layers)),
            ("/num_attention_heads", json!(heads)),
            ("/num_key_value_heads", json!(kv_heads)),
            ("/intermediate_size", json!(intermediate)),
            ("/max_window_layers", json!(max_window_layers)),
            ("/vision_config/intermediate_size", json!(vision)),
            ("/vision_config/out_hidden_size", json!(hidden)),
            ("/tie_word_embeddings", json!(false)),
            ("/vocab_size", json!(152_064)),
        ];
        fields.into_iter().fold(published_3b(), |form, (pointer, v)| with(&form, pointer, v))
    }

    /// The 3B model as transformers 5 writes it: the decoder under `text_config` and nowhere else.
    fn nested_3b() -> Value {
        let flat = published_3b();
        let mut text = json!({
            "dtype": "bfloat16",
            "layer_types": vec!["full_attention"; 36],
            "model_type": "qwen2_5_vl_text",
            "pad_token_id": null,
            "sliding_window": null,
            "rope_parameters": {
                "mrope_section": [16, 24, 24],
                "rope_theta": 1_000_000.0,
                "rope_type": "default",
                "type": "mrope"
            }
        });
        let mut top = json!({ "dtype": "bfloat16", "transformers_version": "5.23.0" });
        for (name, value) in flat.as_object().unwrap() {
            let moved = TEXT_FIELDS.contains(&name.as_str())
                || ["bos_token_id", "eos_token_id", "use_cache"].contains(&name.as_str());
            let place = if moved { &mut text } else { &mut top };
            if !["rope_scaling", "rope_theta", "sliding_window", "torch_dtype"]
                .contains(&name.as_str())
            {
                place[name] = value.clone();
            }
        }
        top["text_config"] = text;
        let vision = &mut top["vision_config"];
        vision["in_channels"] = json!(3);
        vision["initializer_range"] = json!(0.02);
        vision["model_type"] = json!("qwen2_5_vl_vision");
        vision["rope_parameters"] = json!({ "rope_theta": 10000.0, "rope_type": "axial" });
        top
    }

    #[test]
    fn presets_pass_their_own_checks_and_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), nano().to_json("float32")).unwrap();
        assert_eq!(VlmConfig::read(dir.path()).unwrap(), nano());
    }

    #[test]
    fn configs_of_the_kept_bases_are_written_as_they_were_read() {
        for name in ["nano", "small"] {
            let text = golden(&format!("base/{name}/config.json"));
            assert_eq!(VlmConfig::from_json(&text).unwrap().to_json("float32"), text);
        }
    }

    #[test]
    fn the_type_of_numbers_is_written_under_the_name_that_was_there() {
        let names = |form: &Value| {
            let written = read(form).unwrap().to_json("float16");
            let written: Value = serde_json::from_str(&written).unwrap();
            ["torch_dtype", "dtype"].map(|name| written.get(name).cloned())
        };
        let (older, newer) = ([Some("float16".into()), None], [None, Some("float16".into())]);
        let flat = published_3b();
        assert_eq!(names(&flat), older);
        assert_eq!(names(&nested_3b()), newer);
        let renamed = with(&without(&flat, "/torch_dtype"), "/dtype", json!("bfloat16"));
        assert_eq!(names(&renamed), newer);
        assert_eq!(names(&with(&flat, "/dtype", json!("bfloat16"))), older, "both are there");
        // Under the decoder alone.
        let inner = without(&nested_3b(), "/dtype");
        assert_eq!(names(&inner), newer);
    }

    #[test]
    fn published_configs_are_read_and_written_whole() {
        let forms = [published_3b(), published_7b(), published_32b(), published_72b()];
        // The counts are those of the published weights: half of `total_size` of their index.
        let counts = [3_754_622_976, 8_292_166_656, 33_452_718_336, 73_410_777_344_usize];
        for (form, count) in forms.iter().zip(counts) {
            let config = read(form).unwrap();
            assert_eq!(config.layout().num_parameters, count);
            assert_eq!(config.head_dim(), 128);
            assert_eq!(VlmConfig::from_json(&config.to_json("bfloat16")).unwrap(), config);
            // What is written says of each field what was read.
            let written: Value = serde_json::from_str(&config.to_json("bfloat16")).unwrap();
            for (name, value) in written.as_object().unwrap() {
                match name.as_str() {
                    "rope_scaling" => {
                        assert_eq!(value["mrope_section"], form[name]["mrope_section"]);
                        assert_eq!(value["type"], "mrope");
                    }
                    "vision_config" => {
                        for (name, value) in value.as_object().unwrap() {
                            assert_eq!(*value, form["vision_config"][name], "{name}");
                        }
                    }
                    _ => assert_eq!(*value, form[name], "{name}"),
                }
            }
        }
        let config = read(&published_32b()).unwrap();
        assert_eq!((config.bos_token_id, config.pad_token_id), (None, Some(151_643)));
        assert!(read(&published_3b()).unwrap().tie_word_embeddings);
    }

    /// The config without the name that it has for the type of numbers.
    fn meaning(config: VlmConfig) -> VlmConfig {
        VlmConfig { dtype_field: DtypeField::default(), ..config }
    }

    #[test]
    fn the_three_forms_of_a_config_mean_the_same() {
        for (model, tied) in [("model-tied", true), ("model-untied", false)] {
            let form = |file: &str| {
                VlmConfig::from_json(&golden(&format!("parity/fixtures/{model}/{file}.json")))
                    .unwrap()
            };
            let flat = form("config-flat");
            assert_eq!(flat.tie_word_embeddings, tied);
            assert_eq!((flat.hidden_size, flat.video_token_id), (72, Some(656)));
            assert_eq!(flat.vision_config.fullatt_block_indexes, [1, 3]);
            assert_eq!(meaning(form("config")), flat);
            assert_eq!(meaning(form("config-v5")), flat);
        }
        assert_eq!(meaning(read(&nested_3b()).unwrap()), read(&published_3b()).unwrap());
    }

    #[test]
    fn text_config_holds_where_the_top_level_says_otherwise() {
        let mut form = nested_3b();
        for (name, value) in published_7b().as_object().unwrap() {
            if TEXT_FIELDS.contains(&name.as_str()) {
                form[name] = value.clone();
            }
        }
        form["eos_token_id"] = json!(7);
        form["pad_token_id"] = json!(7);
        let form = with(&form, "/text_config/image_token_id", json!(null));
        let form = with(&form, "/text_config/vision_start_token_id", json!(151_652));
        assert_eq!(meaning(read(&form).unwrap()), read(&published_3b()).unwrap());
    }

    #[test]
    fn the_nested_tie_flag_comes_first() {
        let tie = |inner: Value, outer: Value| {
            let form = with(&nested_3b(), "/tie_word_embeddings", outer);
            read(&with(&form, "/text_config/tie_word_embeddings", inner))
                .map(|config| config.tie_word_embeddings)
        };
        assert!(tie(json!(true), json!(null)).unwrap());
        assert!(tie(json!(true), json!(false)).unwrap());
        assert!(tie(json!(null), json!(true)).unwrap());
        assert!(!tie(json!(null), json!(null)).unwrap());
        let error = tie(json!(false), json!(true)).unwrap_err().to_string();
        assert!(error.contains("text_config.tie_word_embeddings"), "{error}");
    }

    #[track_caller]
    fn refused(form: &Value, cause: &str) {
        let error = synergy_hint::text(&read(form).unwrap_err());
        let (line, hint) = error.split_once('\n').unwrap();
        assert!(line.contains(cause), "{error}");
        assert!(hint.starts_with("hint: ") && !hint.contains('\n'), "{error}");
    }

    #[test]
    fn an_unknown_field_is_refused_by_name() {
        for (place, name) in [
            ("", "logit_softcapping"),
            ("/vision_config", "vision_config.logit_softcapping"),
            ("/text_config", "text_config.logit_softcapping"),
            ("/text_config/rope_parameters", "text_config.rope_parameters.logit_softcapping"),
            ("/vision_config/rope_parameters", "vision_config.rope_parameters.logit_softcapping"),
        ] {
            let pointer = format!("{place}/logit_softcapping");
            refused(&with(&nested_3b(), &pointer, json!(null)), &format!("unknown field `{name}`"));
        }
        refused(&with(&published_3b(), "/quantization_config", json!({})), "quantization_config");
        let two = with(&with(&published_3b(), "/b", json!(1)), "/a", json!(1));
        refused(&two, "unknown fields `a`, `b`");
    }

    #[test]
    fn a_value_that_is_not_implemented_is_refused_by_name() {
        let flat = published_3b();
        for (pointer, value, cause) in [
            ("/model_type", json!("llava"), "model type is `llava`"),
            ("/architectures", json!(["Qwen2_5_VLModel"]), "Qwen2_5_VLModel"),
            ("/hidden_act", json!("gelu"), "`hidden_act` `gelu`"),
            ("/attention_dropout", json!(0.1), "`attention_dropout` `0.1`"),
            ("/head_dim", json!(64), "`head_dim` 64"),
            ("/rope_scaling/type", json!("yarn"), "`rope_scaling.type` `yarn`"),
            ("/rope_scaling/rope_type", json!("linear"), "`rope_scaling.rope_type` `linear`"),
            ("/rope_scaling/rope_theta", json!(5), "`rope_theta` is 1000000"),
            ("/rope_scaling/mrope_section", json!([16, 24, 23]), "mrope_section"),
            ("/rope_scaling/mrope_section", json!([64]), "`rope_scaling.mrope_section`"),
            ("/rope_parameters", json!({}), "both `rope_scaling` and `rope_parameters`"),
            ("/rope_scaling", json!(null), "`rope_scaling` is missing"),
            ("/layer_types", json!(["full_attention"]), "1 entries for 36 layers"),
            ("/layer_types", json!(vec!["linear_attention"; 36]), "`linear_attention`"),
            ("/layer_types", json!(vec!["sliding_attention"; 36]), "over 32768 of 128000"),
            ("/num_key_value_heads", json!(3), "do not divide"),
            ("/num_attention_heads", json!(0), "`num_attention_heads` is 0"),
            ("/num_attention_heads", json!(u64::MAX), "do not divide"),
            ("/rope_theta", json!(0.0), "`rope_theta` is 0"),
            ("/eos_token_id", json!([1, 2]), "`eos_token_id`"),
            ("/video_token_id", json!(151_936), "`video_token_id` 151936 is not below"),
            ("/hidden_size", json!("2048"), "`hidden_size`"),
            ("/vision_config/hidden_act", json!("quick_gelu"), "`vision_config.hidden_act`"),
            ("/vision_config/in_channels", json!(4), "`vision_config.in_channels` `4`"),
            ("/vision_config/spatial_patch_size", json!(16), "spatial_patch_size"),
            ("/vision_config/out_hidden_size", json!(3584), "out_hidden_size"),
            ("/vision_config/window_size", json!(100), "window_size"),
            ("/vision_config/num_heads", json!(7), "num_heads"),
            ("/vision_config/model_type", json!("qwen2_vl"), "`qwen2_vl`"),
        ] {
            refused(&with(&flat, pointer, value), cause);
        }
        let nested = nested_3b();
        for (pointer, value, cause) in [
            ("/text_config/model_type", json!("qwen3_vl_text"), "`qwen3_vl_text`"),
            ("/text_config/image_token_id", json!(5), "`text_config.image_token_id` `5`"),
            ("/vision_config/rope_parameters/rope_theta", json!(5e4), "rope_theta` `50000`"),
            ("/vision_config/rope_parameters/rope_type", json!("yarn"), "rope_type` `yarn`"),
        ] {
            refused(&with(&nested, pointer, value), cause);
        }
    }

    #[test]
    fn a_missing_field_is_named() {
        for name in ["model_type", "image_token_id", "eos_token_id", "hidden_size", "rope_theta"] {
            refused(
                &without(&published_3b(), &format!("/{name}")),
                &format!("`{name}` is missing"),
            );
        }
        let form = without(&nested_3b(), "/text_config/vocab_size");
        refused(&form, "`text_config.vocab_size` is missing");
        refused(&without(&form, "/vision_config"), "`vision_config` is missing");
    }

    #[test]
    fn settings_that_change_nothing_pass() {
        let flat = published_3b();
        let want = read(&flat).unwrap();
        for (pointer, value) in [
            ("/head_dim", json!(128)),
            ("/attention_dropout", json!(0)),
            ("/sliding_window", json!(null)),
            ("/use_cache", json!(false)),
            ("/torch_dtype", json!("float16")),
            ("/_name_or_path", json!("elsewhere")),
            ("/layer_types", json!(vec!["full_attention"; 36])),
            // The window begins at layer 70 of 36.
            ("/use_sliding_window", json!(true)),
        ] {
            assert_eq!(read(&with(&flat, pointer, value)).unwrap(), want, "{pointer}");
        }
        let on = with(&flat, "/use_sliding_window", json!(true));
        let on = with(&on, "/max_window_layers", json!(0));
        refused(&on, "over 32768 of 128000");
        assert_eq!(read(&with(&on, "/sliding_window", json!(128_000))).unwrap(), want);
    }

    #[test]
    fn a_broken_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = synergy_hint::text(&VlmConfig::read(dir.path()).unwrap_err());
        assert!(error.contains("failed to read model config `"), "{error}");
        assert!(error.contains("config.json`: ") && error.contains("\nhint: "), "{error}");
        std::fs::write(dir.path().join("config.json"), &nano().to_json("float32")[..200]).unwrap();
        let error = synergy_hint::text(&VlmConfig::read(dir.path()).unwrap_err());
        assert!(error.contains("config.json`: not a whole JSON object"), "{error}");
    }
}
