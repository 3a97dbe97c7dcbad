//! Reading a published `preprocessor_config.json`.
//!
//! Does not know pictures. The file lists more than the computation needs, and its fields changed with
//! the versions of `transformers`. Every field is known here: read, proven to change nothing, or
//! refused by name when it asks for something that is not implemented.

use anyhow::{Result, anyhow, ensure};
use synergy_hint::{Explain as _, hint};

use crate::fields::{HINT, Section};
use crate::image::{ProcessorConfig, RESCALE_FACTOR};

/// Names of classes that mean the same computation; they differ in the library that resamples.
const TYPES: [&str; 3] =
    ["Qwen2VLImageProcessor", "Qwen2VLImageProcessorFast", "Qwen2VLImageProcessorPil"];

/// Fields about who reads the file and on which device, and sizes of what other fields switch off. Pictures are RGB
/// with or without `do_convert_rgb`.
const INERT: [&str; 9] = [
    "processor_class",
    "feature_extractor_type",
    "device",
    "disable_grouping",
    "return_tensors",
    "crop_size",
    "pad_size",
    "default_to_square",
    "do_convert_rgb",
];

/// The largest sizes that are accepted, against settings that no machine can follow.
const SIZE_MAX: usize = 1024;
const PIXELS_MAX: usize = 1 << 28;

impl ProcessorConfig {
    /// Takes the fields of a config of any published form apart.
    pub(super) fn take(mut fields: Section) -> Result<ProcessorConfig> {
        for name in ["do_resize", "do_rescale", "do_normalize"] {
            fields.only::<bool, _>(name, &[true])?;
        }
        for name in ["do_center_crop", "do_pad"] {
            fields.only::<bool, _>(name, &[false])?;
        }
        // Bicubic in Pillow's numbering.
        fields.only::<u8, _>("resample", &[3])?;
        fields.only::<f64, _>("rescale_factor", &[RESCALE_FACTOR])?;
        fields.only::<String, _>("data_format", &["channels_first"])?;
        fields.only::<String, _>("input_data_format", &["channels_last"])?;
        // The older pair wins where both are given, as in the reference. In a `size`, edges are numbers of
        // pixels in spite of their names. (The slow class of transformers 4.57 overwrites a `size` without
        // the older pair by its own default; every other class follows it.)
        let mut size = fields.object("size")?.unwrap_or_default();
        let mut pixels = |name: &str, edge: &str| {
            let older = fields.take(name)?;
            older
                .or(size.take(edge)?)
                .explain(|| hint!("neither `{name}` nor a `size` with `{edge}` is given", "{HINT}"))
        };
        let config = ProcessorConfig {
            min_pixels: pixels("min_pixels", "shortest_edge")?,
            max_pixels: pixels("max_pixels", "longest_edge")?,
            image_processor_type: fields.need("image_processor_type")?,
            patch_size: fields.need("patch_size")?,
            temporal_patch_size: fields.need("temporal_patch_size")?,
            merge_size: fields.need("merge_size")?,
            image_mean: fields.need("image_mean")?,
            image_std: fields.need("image_std")?,
        };
        fields.finish(&INERT)?;
        config.check_ranges().map_err(|e| anyhow!(hint!("{e}", "{HINT}")))?;
        Ok(config)
    }

    fn check_ranges(&self) -> Result<()> {
        let kind = self.image_processor_type.as_str();
        ensure!(TYPES.contains(&kind), "image_processor_type `{kind}` is not implemented");
        for (name, size) in [
            ("patch_size", self.patch_size),
            ("temporal_patch_size", self.temporal_patch_size),
            ("merge_size", self.merge_size),
        ] {
            ensure!((1..=SIZE_MAX).contains(&size), "`{name}` is {size}, not in 1..={SIZE_MAX}");
        }
        let (low, high) = (self.min_pixels, self.max_pixels);
        ensure!(
            (1..=PIXELS_MAX).contains(&low) && low <= high,
            "`min_pixels` is {low}, not in 1..={}",
            high.min(PIXELS_MAX)
        );
        ensure!(
            self.image_std.iter().all(|std| *std > 0.0),
            "`image_std` is {:?}, not positive",
            self.image_std
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, Value, json};

    /// As published with Qwen2.5-VL-3B.
    const PUBLISHED: &str = r#"{
        "min_pixels": 3136, "max_pixels": 12845056,
        "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor"
    }"#;

    fn published() -> Map<String, Value> {
        serde_json::from_str(PUBLISHED).unwrap()
    }

    /// The published file with `changes`; a change to null takes the field away.
    fn parse(changes: Value) -> Result<ProcessorConfig> {
        let mut fields = published();
        let Value::Object(changes) = changes else { panic!("changes are an object") };
        for (name, value) in changes {
            fields.insert(name, value);
        }
        ProcessorConfig::from_json(&Value::Object(fields).to_string())
    }

    #[test]
    fn the_published_form_and_those_that_transformers_saves_mean_the_same() {
        let config = parse(json!({})).unwrap();
        let expected = ProcessorConfig {
            image_processor_type: "Qwen2VLImageProcessor".into(),
            min_pixels: 56 * 56,
            max_pixels: 28 * 28 * 16384,
            patch_size: 14,
            temporal_patch_size: 2,
            merge_size: 2,
            image_mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            image_std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
        };
        assert_eq!(config, expected);
        // What transformers 4.57 writes for its slow class.
        let slow = json!({
            "do_convert_rgb": true, "do_normalize": true, "do_rescale": true, "do_resize": true,
            "resample": 3, "rescale_factor": 0.00392156862745098,
            "size": {"longest_edge": 12845056, "shortest_edge": 3136},
        });
        assert_eq!(parse(slow).unwrap(), config);
        // And for its fast one.
        let fast = json!({
            "crop_size": null, "data_format": "channels_first", "default_to_square": true,
            "device": null, "disable_grouping": null, "do_center_crop": null, "do_convert_rgb": true,
            "do_normalize": true, "do_pad": null, "do_rescale": true, "do_resize": true,
            "image_processor_type": "Qwen2VLImageProcessorFast", "input_data_format": null,
            "max_pixels": null, "min_pixels": null, "pad_size": null, "resample": 3,
            "rescale_factor": 0.00392156862745098, "return_tensors": null,
            "size": {"longest_edge": 12845056, "shortest_edge": 3136},
        });
        let kind = "Qwen2VLImageProcessorFast".to_owned();
        assert_eq!(parse(fast).unwrap(), ProcessorConfig { image_processor_type: kind, ..config });
    }

    #[test]
    fn the_older_pair_of_limits_wins() {
        let size = json!({"size": {"shortest_edge": 1, "longest_edge": 2}});
        assert_eq!(parse(size).unwrap(), parse(json!({})).unwrap());
        let half = json!({"min_pixels": null, "size": {"shortest_edge": 784, "longest_edge": 2}});
        assert_eq!(parse(half).unwrap().min_pixels, 784);
    }

    #[test]
    fn a_config_reads_its_own_text() {
        let config = parse(json!({})).unwrap();
        assert_eq!(ProcessorConfig::from_json(&config.to_json()).unwrap(), config);
    }

    #[test]
    fn what_would_change_the_computation_is_refused_by_name() {
        for (field, value) in [
            ("do_resize", json!(false)),
            ("do_rescale", json!(false)),
            ("do_normalize", json!(false)),
            ("do_center_crop", json!(true)),
            ("do_pad", json!(true)),
            ("resample", json!(2)),
            ("rescale_factor", json!(0.0078125)),
            ("data_format", json!("channels_last")),
            ("input_data_format", json!("channels_first")),
            ("size", json!([448, 448])),
            ("min_pixels", json!(0)),
            ("min_pixels", json!(12_845_057)),
            ("max_pixels", json!(-1)),
            ("patch_size", json!(0)),
            ("merge_size", json!(1_000_000)),
            ("temporal_patch_size", json!("two")),
            ("image_mean", json!([0.5, 0.5])),
            ("image_mean", json!(null)),
            ("image_std", json!([0.5, 0.0, 0.5])),
            ("image_processor_type", json!("CLIPImageProcessor")),
            ("vertical_flip", json!(false)),
        ] {
            let error = synergy_hint::text(&parse(json!({ field: value.clone() })).unwrap_err());
            assert!(error.contains(field), "{field} {value}: {error}");
            assert!(error.contains("\nhint: "), "{error}");
        }
        let none = synergy_hint::text(&parse(json!({"min_pixels": null})).unwrap_err());
        assert!(none.contains("`min_pixels`") && none.contains("`shortest_edge`"), "{none}");
    }
}
