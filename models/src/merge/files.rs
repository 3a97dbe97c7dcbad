//! Merging two checkpoints on disk, of any architecture, tensor by tensor.
//!
//! Does not know formulas, nor what the tensors mean: two folders are merged if they hold tensors of the same
//! names and shapes. Everything that names, shapes and types tell is checked before anything is written.
//! Names, shards, types and all files except weights are the first folder's.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, ensure};
use safetensors::{Dtype, View};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use synergy_hint::{Explain as _, hint};

use crate::checkpoint::write_folder;
use crate::merge::folder::{Folder, Named, copied_files, file_name};
use crate::merge::report::{Figures, Group, Summary};
use crate::merge::{MergeSpec, check_range, merge_tensor, settings};
use crate::weights::stored::{INDEX, StoredTensor, format_of};
use crate::weights::{StoredDtype, write_views};

/// Name of the file in a merged folder that records how it was merged.
pub const RECORD: &str = "merge_report.json";

const CONFIG: &str = "config.json";

/// The folders that are merged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// The first parent, whose files the result takes over.
    pub a: PathBuf,
    /// The second parent.
    pub b: PathBuf,
    /// The checkpoint that both were trained from.
    pub base: Option<PathBuf>,
}

/// The record of a merge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MergeRecord {
    /// The folders.
    pub sources: Sources,
    /// The settings.
    pub spec: MergeSpec,
    /// The type of all written numbers; without one, each tensor has its type in the first folder.
    pub dtype: Option<StoredDtype>,
    /// In what the settings of the folders differ, a line for each file; the result has those of the first folder.
    pub differences: Vec<String>,
    /// How many tensors were copied because they hold no floating-point numbers; they are the same in both folders.
    pub num_copied: usize,
    /// Figures over all merged tensors.
    pub all: Summary,
    /// Figures over each group of tensors; groups without tensors are absent.
    pub groups: BTreeMap<Group, Summary>,
}

/// A merge whose folders fit each other, as far as that is known before numbers are read.
#[derive(Debug)]
pub struct FolderMerge {
    spec: MergeSpec,
    sources: Sources,
    dtype: Option<StoredDtype>,
    shards: Vec<Shard>,
    /// The first folder's index, if it has several shards.
    index: Option<Value>,
    /// Names of the files that are copied.
    others: Vec<String>,
    /// In what the folders' settings differ.
    differences: Vec<String>,
}

#[derive(Debug)]
struct Shard {
    file: String,
    format: Option<String>,
    tensors: Vec<Planned>,
}

#[derive(Debug)]
struct Planned {
    /// In the first folder.
    name: String,
    published: String,
    a: StoredTensor,
    b: StoredTensor,
    base: Option<StoredTensor>,
    /// The type that it is written in; `None` for one that is copied.
    dtype: Option<StoredDtype>,
}

impl FolderMerge {
    /// Opens the folders and checks that they can be merged into files of `dtype`, or of the first folder's
    /// types.
    ///
    /// # Errors
    /// If a number is out of range, a folder has no weights in safetensors files or damaged ones, or the
    /// folders differ in names, shapes, in a tensor that cannot be merged, or in settings that say what numbers mean.
    pub fn plan(
        spec: MergeSpec,
        sources: Sources,
        dtype: Option<StoredDtype>,
    ) -> Result<FolderMerge> {
        spec.check()?;
        ensure!(
            sources.base.is_some() || !spec.method.needs_base(),
            hint!(
                "the method merges differences from a base, and no base is given",
                "--base DIR, the model that both were trained from"
            )
        );
        let Sources { a, b, base } = &sources;
        let mut of_a = Folder::open(a)?;
        let mut of_b = Folder::open(b)?;
        let mut of_base = base.as_deref().map(Folder::open).transpose()?;
        for other in [Some(&of_b), of_base.as_ref()].into_iter().flatten() {
            of_a.check_against(other)?;
        }
        let mut differences = Vec::new();
        for other in [Some(b), base.as_ref()].into_iter().flatten() {
            differences.extend(settings::compare(a, other)?);
        }
        let index = of_a.index()?;
        let mut shards: Vec<Shard> = Vec::new();
        for path in &of_a.paths {
            let file = file_name(path);
            shards.push(Shard { file, format: format_of(path)?, tensors: Vec::new() });
        }
        for (published, Named { name, shard, stored }) in std::mem::take(&mut of_a.tensors) {
            let gone = "checked above";
            let base = of_base.as_mut().map(|f| f.tensors.remove(&published).expect(gone).stored);
            let of_b = of_b.tensors.remove(&published).expect(gone).stored;
            let mut tensor = Planned { name, published, a: stored, b: of_b, base, dtype: None };
            tensor.dtype = tensor.written_as(dtype, &sources)?;
            shards[shard].tensors.push(tensor);
        }
        let mut others = copied_files(&sources.a)?;
        others.retain(|file| file != RECORD);
        Ok(FolderMerge { spec, sources, dtype, shards, index, others, differences })
    }

    /// Returns in what the settings of the folders differ, a line for each file.
    pub fn differences(&self) -> &[String] {
        &self.differences
    }

    /// Counts the tensors of the result.
    pub fn num_tensors(&self) -> usize {
        self.shards.iter().map(|shard| shard.tensors.len()).sum()
    }

    /// Returns the size of the result's weights, in bytes.
    pub fn num_bytes(&self) -> usize {
        self.tensors().map(Planned::num_bytes).sum()
    }

    /// Returns the size of the weights that are read, in bytes.
    pub fn num_bytes_read(&self) -> usize {
        let of_base = |t: &Planned| t.base.as_ref().map_or(0, |base| base.num_bytes);
        self.tensors().map(|t| t.a.num_bytes + t.b.num_bytes + of_base(t)).sum()
    }

    /// Writes the merge to the folder `out`, which must not exist or be empty; it appears when it is complete.
    /// Memory holds the numbers of one tensor of each folder. `go_on` gets the number of bytes written so far
    /// and returns whether to go on.
    ///
    /// # Errors
    /// If `out` exists or cannot be written, a file is damaged, a number is too large for the type that it
    /// is written in, or `go_on` returned false. Then `out` is not made.
    pub fn write(&self, out: &Path, go_on: &dyn Fn(usize) -> bool) -> Result<MergeRecord> {
        let streamed = Streamed { merge: self, go_on, state: RefCell::default() };
        let mut record = None;
        write_folder(out, |part| {
            for shard in &self.shards {
                streamed.write(shard, part)?;
            }
            if let Some(index) = &self.index {
                let mut index = index.clone();
                index["metadata"]["total_size"] = json!(self.num_bytes());
                write_json(&part.join(INDEX), &index)?;
            }
            for name in &self.others {
                self.copy(name, part)?;
            }
            let made = self.record(&streamed.state.borrow().groups);
            write_json(&part.join(RECORD), &made)?;
            record = Some(made);
            Ok(())
        })?;
        record.context("a folder that was written has a record")
    }

    fn tensors(&self) -> impl Iterator<Item = &Planned> {
        self.shards.iter().flat_map(|shard| &shard.tensors)
    }

    /// Copies a file of the first folder, and sets the type of the numbers in its config.
    fn copy(&self, name: &str, part: &Path) -> Result<()> {
        let from = self.sources.a.join(name);
        let Some(dtype) = self.dtype.filter(|_| name == CONFIG) else {
            fs::copy(&from, part.join(name))
                .explain(|| hint!(("failed to copy `{}`", from.display()), "can it be read?"))?;
            return Ok(());
        };
        let mut config: Value = fs::read_to_string(&from)
            .map_err(Error::from)
            .and_then(|text| Ok(serde_json::from_str(&text)?))
            .explain(|| {
                hint!(("failed to read `{}`", from.display()), "take the published file")
            })?;
        set_dtype(&mut config, dtype);
        write_json(&part.join(name), &config)
    }

    fn record(&self, groups: &BTreeMap<Group, Figures>) -> MergeRecord {
        let mut all = Figures::default();
        groups.values().for_each(|group| all.add(group));
        MergeRecord {
            sources: self.sources.clone(),
            spec: self.spec,
            dtype: self.dtype,
            differences: self.differences.clone(),
            num_copied: self.tensors().filter(|tensor| tensor.dtype.is_none()).count(),
            all: all.summary(),
            groups: groups.iter().map(|(group, figures)| (*group, figures.summary())).collect(),
        }
    }
}

impl Planned {
    /// Returns the type that the tensor is written in if `dtype` is asked for; `None` if it is copied.
    fn written_as(
        &self,
        dtype: Option<StoredDtype>,
        sources: &Sources,
    ) -> Result<Option<StoredDtype>> {
        let Planned { name, a, b, base, .. } = self;
        let Some(as_in_a) = StoredDtype::of(a.dtype) else {
            let same = a.dtype == b.dtype && a.with_bytes(|a| b.with_bytes(|b| a == b))??;
            ensure!(
                same,
                hint!(
                    (
                        "`{name}` is of type {:?}, which cannot be merged, and differs between the two",
                        a.dtype
                    ),
                    "numbers are merged as f32, f16 or bf16; a quantized model has to be made whole first"
                )
            );
            return Ok(None);
        };
        for (other, dir) in [(Some(b), Some(&sources.b)), (base.as_ref(), sources.base.as_ref())] {
            let (Some(other), Some(dir)) = (other, dir) else { continue };
            ensure!(
                StoredDtype::of(other.dtype).is_some(),
                hint!(
                    (
                        "`{name}` is of type {:?} in `{}`, which cannot be merged",
                        other.dtype,
                        dir.display()
                    ),
                    "numbers are merged as f32, f16 or bf16; a quantized model has to be made whole first"
                )
            );
        }
        Ok(Some(dtype.unwrap_or(as_in_a)))
    }

    fn num_bytes(&self) -> usize {
        let count: usize = self.a.shape.iter().product();
        self.dtype.map_or(self.a.num_bytes, |dtype| count * dtype.num_bytes())
    }
}

/// A tensor of the result; its bytes are made when the writer asks for them.
struct Lazy<'a> {
    tensor: &'a Planned,
    streamed: &'a Streamed<'a>,
}

/// A merge that is being written. Its tensors cannot refuse to give bytes, so the first fault is noted here.
struct Streamed<'a> {
    merge: &'a FolderMerge,
    go_on: &'a dyn Fn(usize) -> bool,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    groups: BTreeMap<Group, Figures>,
    num_bytes: usize,
    /// The first fault; after it nothing is read any more, and the files are removed.
    fault: Option<Error>,
}

impl View for Lazy<'_> {
    fn dtype(&self) -> Dtype {
        self.tensor.dtype.map_or(self.tensor.a.dtype, StoredDtype::dtype)
    }

    fn shape(&self) -> &[usize] {
        &self.tensor.a.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut state = self.streamed.state.borrow_mut();
        if state.fault.is_some() {
            return Cow::Borrowed(&[]);
        }
        let bytes = self.streamed.merged(self.tensor, &mut state).unwrap_or_else(|fault| {
            state.fault = Some(fault);
            Vec::new()
        });
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        self.tensor.num_bytes()
    }
}

impl Streamed<'_> {
    fn write(&self, shard: &Shard, part: &Path) -> Result<()> {
        let lazy = |t| Lazy { tensor: t, streamed: self };
        let views = shard.tensors.iter().map(|t| (t.name.as_str(), lazy(t)));
        let format = shard.format.as_deref().unwrap_or("pt").to_owned();
        let path = part.join(&shard.file);
        let written = write_views(&path, views, HashMap::from([("format".to_owned(), format)]));
        // What a view could not report is why the file is not good, so it comes first.
        match self.state.borrow_mut().fault.take() {
            Some(fault) => Err(fault),
            None => written,
        }
    }

    /// Merges a tensor, adds it to the figures and returns its bytes.
    fn merged(&self, tensor: &Planned, state: &mut State) -> Result<Vec<u8>> {
        ensure!(
            (self.go_on)(state.num_bytes),
            hint!(
                "stopped before the merge was complete",
                "nothing was written; run the same command to start again"
            )
        );
        let bytes = match tensor.dtype {
            None => tensor.a.with_bytes(<[u8]>::to_vec)?,
            Some(dtype) => {
                let read = |stored: &StoredTensor| stored.read(&tensor.name);
                let (a, b) = (read(&tensor.a)?, read(&tensor.b)?);
                let base = tensor.base.as_ref().map(read).transpose()?;
                let base = base.as_deref();
                let figures = state.groups.entry(Group::of(&tensor.published)).or_default();
                figures.add_parents(&a, &b, base);
                let spec = &self.merge.spec;
                let merged = merge_tensor(spec, &tensor.published, a, b, base.unwrap_or_default());
                check_range(&tensor.name, &merged, dtype)?;
                figures.add_merged(&merged);
                dtype.encode(&merged)
            }
        };
        state.num_bytes += bytes.len();
        Ok(bytes)
    }
}

/// Sets `dtype` wherever a model's config names the type of its stored numbers.
fn set_dtype(config: &mut Value, dtype: StoredDtype) {
    let Some(fields) = config.as_object_mut() else { return };
    for (key, value) in fields {
        match key.as_str() {
            "dtype" | "torch_dtype" if value.is_string() => *value = json!(dtype.torch_name()),
            // How quantized numbers are computed with is another matter.
            "quantization_config" => {}
            _ => set_dtype(value, dtype),
        }
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).context("plain data")? + "\n";
    fs::write(path, text).explain(|| {
        hint!(
            ("failed to write `{}`", path.display()),
            "is the folder writable and the disk not full?"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::{Method, Rescale, merge};
    use crate::qwen2_5_vl::names::HEAD;
    use crate::tests::fixtures::model;
    use crate::weights::stored::{WHOLE, stored_in};
    use crate::weights::{Parameter, Parameters};
    use burn::tensor::Device;
    use safetensors::tensor::TensorView;
    use std::cell::Cell;
    use strum::VariantArray;
    use tempfile::TempDir;

    const SHARD_BYTES: usize = 200_000;

    fn spec(method: Method) -> MergeSpec {
        MergeSpec {
            method,
            share: 0.3,
            density: 0.5,
            normalize: true,
            lambda: 0.7,
            rescale: Rescale::L1,
            seed: 5,
        }
    }

    fn sources(dir: &Path, base: Option<&str>) -> Sources {
        Sources { a: dir.join("a"), b: dir.join("b"), base: base.map(|base| dir.join(base)) }
    }

    fn refusal(error: &Error) -> String {
        let said = synergy_hint::text(error);
        assert!(said.contains("\nhint: "), "{said}");
        said
    }

    /// A model that was trained a little from `base`: every third number is another.
    fn trained(base: &Parameters, phase: f32) -> Parameters {
        base.iter()
            .map(|(name, p)| {
                let mut values = p.to_vec();
                for (i, x) in values.iter_mut().enumerate().filter(|(i, _)| i % 3 != 0) {
                    *x += 0.02 * (i as f32 * 0.7 + phase + name.len() as f32).sin();
                }
                let parameter = Parameter::new(p.shape.clone(), values, &Device::flex());
                (name.to_owned(), parameter)
            })
            .collect()
    }

    /// `a` in shards, `b` and `base` in one file, all as `dtype`.
    fn three(dtype: StoredDtype) -> (TempDir, [Parameters; 3]) {
        let dir = tempfile::tempdir().unwrap();
        let (config, base) = model("model-untied");
        let models = [trained(&base, 0.1), trained(&base, 1.3), base];
        let sizes = [SHARD_BYTES, usize::MAX, usize::MAX];
        for ((name, parameters), size) in ["a", "b", "base"].into_iter().zip(&models).zip(sizes) {
            fs::create_dir(dir.path().join(name)).unwrap();
            parameters.save(&dir.path().join(name), dtype, size).unwrap();
        }
        // Rounded to what was stored.
        let read = ["a", "b", "base"].map(|name| {
            Parameters::load(&dir.path().join(name), &config, &Device::flex()).unwrap()
        });
        (dir, read)
    }

    /// A folder with one file of these tensors.
    fn folder(dir: &Path, tensors: &[(&str, Dtype, &[usize], &[u8])]) {
        fs::create_dir_all(dir).unwrap();
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap())
        });
        safetensors::serialize_to_file(views, None, &dir.join(WHOLE)).unwrap();
    }

    fn all_bytes(path: &Path) -> BTreeMap<String, Vec<u8>> {
        let bytes =
            |(name, t): (String, StoredTensor)| (name, t.with_bytes(<[u8]>::to_vec).unwrap());
        stored_in(path).unwrap().into_iter().map(bytes).collect()
    }

    fn entries(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|e| file_name(&e.unwrap().path())).collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_merged_as_models_in_memory_are() {
        let (config, _) = model("model-untied");
        let (dir, [a, b, base]) = three(StoredDtype::F32);
        for &method in Method::VARIANTS {
            let (want, report) = merge(&spec(method), &a, &b, &base).unwrap();
            let plan =
                FolderMerge::plan(spec(method), sources(dir.path(), Some("base")), None).unwrap();
            let out = dir.path().join(format!("{method:?}"));
            let told = Cell::new(0);
            let record = plan.write(&out, &|n| told.replace(n) <= n).unwrap();
            let got = Parameters::load(&out, &config, &Device::flex()).unwrap();
            assert_eq!(got.to_bytes(), want.to_bytes(), "{method:?}");
            let from_base = record.all.from_base.unwrap();
            for (got, want) in [
                (from_base.distance_a, report.distance_a),
                (from_base.distance_b, report.distance_b),
                (from_base.cosine, report.cosine),
                (from_base.overlap, report.overlap),
                (from_base.sign_conflicts, report.sign_conflicts),
            ] {
                assert!((got - want).abs() < 1e-9, "{got} {want}");
            }
            let groups = record.groups.values();
            assert_eq!(groups.map(|g| g.num_numbers).sum::<usize>(), a.count());
            let written: MergeRecord =
                serde_json::from_str(&fs::read_to_string(out.join(RECORD)).unwrap()).unwrap();
            assert_eq!(written, record);

            // The layout is that of `a`.
            let mut names = entries(&out);
            names.retain(|name| name != RECORD);
            assert_eq!(names, entries(&dir.path().join("a")));
            assert!(names.len() > 4, "{names:?}");
            let index = |dir: &Path| fs::read(dir.join(INDEX)).unwrap();
            assert_eq!(index(&out), index(&dir.path().join("a")));
        }
    }

    #[test]
    fn share_0_and_1_give_the_bytes_of_a_parent() {
        for dtype in [StoredDtype::F32, StoredDtype::F16, StoredDtype::Bf16] {
            let (dir, _) = three(dtype);
            for (i, &method) in Method::VARIANTS.iter().enumerate() {
                for (share, parent) in [(0.0, "b"), (1.0, "a")] {
                    let spec = MergeSpec { share, density: 1.0, lambda: 1.0, ..spec(method) };
                    let sources = sources(dir.path(), Some("base"));
                    let out = dir.path().join(format!("{i}{parent}"));
                    let plan = FolderMerge::plan(spec, sources, None).unwrap();
                    plan.write(&out, &|_| true).unwrap();
                    let mut want = all_bytes(&dir.path().join("b").join(WHOLE));
                    for file in entries(&out).iter().filter(|f| f.ends_with(".safetensors")) {
                        if parent == "a" {
                            let bytes = |dir: &Path| fs::read(dir.join(file)).unwrap();
                            assert!(bytes(&out) == bytes(&dir.path().join("a")), "{method:?}");
                            continue;
                        }
                        for (name, bytes) in all_bytes(&out.join(file)) {
                            assert!(want.remove(&name) == Some(bytes), "{method:?} {name}");
                        }
                    }
                    assert!(parent == "a" || want.is_empty());
                }
            }
        }
    }

    #[test]
    fn what_is_stored_comes_back_to_the_bit() {
        for (dtype, of) in [(StoredDtype::F16, Dtype::F16), (StoredDtype::Bf16, Dtype::BF16)] {
            let dir = tempfile::tempdir().unwrap();
            let exponent = if dtype == StoredDtype::F16 { 0x7c00 } else { 0x7f80 };
            // Every number there is: not infinite, and numbers.
            let all: Vec<u8> = (0..=u16::MAX)
                .filter(|x| x & exponent != exponent)
                .flat_map(u16::to_le_bytes)
                .collect();
            folder(dir.path(), &[("w", of, &[all.len() / 2], &all)]);
            let (_, tensor) = stored_in(&dir.path().join(WHOLE)).unwrap().remove(0);
            let values = tensor.read("w").unwrap();
            assert!(dtype.encode(&values) == all);
            let largest = values.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
            assert!(largest <= dtype.largest());
            for (x, is_finite) in [(dtype.largest(), true), (dtype.largest().next_up(), false)] {
                let bytes = dtype.encode(&[x]);
                let bits = u16::from_le_bytes([bytes[0], bytes[1]]);
                assert_eq!(bits & exponent != exponent, is_finite, "{x}");
            }
        }
    }

    #[test]
    fn names_of_both_layouts_are_one_and_the_first_folders_are_written() {
        let numbers = |k: usize| -> Vec<u8> {
            (0..600).flat_map(|i| (((i + k) as f32 * 0.37).sin()).to_le_bytes()).collect()
        };
        let old = ["visual.blocks.0.attn.qkv.weight", "model.layers.0.mlp.up_proj.weight", HEAD];
        let new = [
            "model.visual.blocks.0.attn.qkv.weight",
            "model.language_model.layers.0.mlp.up_proj.weight",
            HEAD,
        ];
        let run = |a: [&str; 3], b: [&str; 3], base: [&str; 3]| {
            let dir = tempfile::tempdir().unwrap();
            for (k, (folder_name, names)) in [("a", a), ("b", b), ("base", base)].iter().enumerate()
            {
                let bytes = [0, 1, 2].map(|i| numbers(10 * k + i));
                let tensors: Vec<(&str, Dtype, &[usize], &[u8])> = names
                    .iter()
                    .zip(&bytes)
                    .map(|(name, bytes)| (*name, Dtype::F32, [30, 20].as_slice(), &bytes[..]))
                    .collect();
                folder(&dir.path().join(folder_name), &tensors);
            }
            let out = dir.path().join("out");
            FolderMerge::plan(spec(Method::DareTies), sources(dir.path(), Some("base")), None)
                .unwrap()
                .write(&out, &|_| true)
                .unwrap();
            let merged = all_bytes(&out.join(WHOLE));
            a.map(|name| merged[name].clone())
        };
        let want = run(old, old, old);
        for (a, b, base) in [(old, new, old), (new, old, old), (new, new, new), (new, old, new)] {
            assert!(run(a, b, base) == want, "{a:?} {b:?} {base:?}");
        }
    }

    #[test]
    fn tensors_without_fractions_are_copied_if_they_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let (one, two) = (1_i64.to_le_bytes(), 2_i64.to_le_bytes());
        let (x, y) = (1_f32.to_le_bytes(), 2_f32.to_le_bytes());
        let write = |name: &str, position: &[u8], x: &[u8], kind| {
            folder(&path(name), &[("p", Dtype::I64, &[1], position), ("w", kind, &[1], x)]);
        };
        write("a", &one, &x, Dtype::F32);
        write("b", &one, &y, Dtype::F32);
        write("base", &two, &y, Dtype::F32);
        let half = MergeSpec { share: 0.5, ..spec(Method::Linear) };
        let plan = || FolderMerge::plan(half, sources(dir.path(), Some("base")), None);
        let record = plan().unwrap().write(&path("out"), &|_| true).unwrap();
        assert_eq!((record.num_copied, record.all.num_tensors), (1, 1));
        let merged = all_bytes(&path("out").join(WHOLE));
        assert_eq!((&merged["p"][..], &merged["w"][..]), (&one[..], &1.5_f32.to_le_bytes()[..]));

        write("b", &two, &y, Dtype::F32);
        let said = refusal(&plan().unwrap_err());
        assert!(said.starts_with("`p` is of type I64, which cannot be merged, and"), "{said}");
        write("b", &one, &[0; 1], Dtype::F8_E4M3);
        let said = refusal(&plan().unwrap_err());
        assert!(said.starts_with("`w` is of type F8_E4M3 in `"), "{said}");
    }

    #[test]
    fn folders_that_do_not_fit_are_told_apart_by_what_differs() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, tensors: &[(&str, &[usize])]| {
            let bytes = [0; 64];
            let tensors: Vec<(&str, Dtype, &[usize], &[u8])> = tensors
                .iter()
                .map(|(name, shape)| {
                    (*name, Dtype::F32, *shape, &bytes[..4 * shape.iter().product::<usize>()])
                })
                .collect();
            folder(&dir.path().join(name), &tensors);
        };
        let said = || {
            let sources = sources(Path::new(dir.path()), None);
            let error = FolderMerge::plan(spec(Method::Linear), sources, None).unwrap_err();
            refusal(&error).replace(&format!("{}/", dir.path().display()), "")
        };
        let embeddings = "model.embed_tokens.weight";
        write("a", &[(embeddings, &[3, 2])]);
        write("b", &[(embeddings, &[4, 2])]);
        assert_eq!(
            said(),
            "`model.embed_tokens.weight` has shape [3, 2] in `a` and [4, 2] in `b`\n\
             hint: their vocabularies differ in size; bring one to the other's first"
        );
        write("b", &[("v", &[1]), ("w", &[1]), ("x", &[1]), ("y", &[1])]);
        assert_eq!(
            said(),
            "only `a` has `model.embed_tokens.weight`, only `b` has `v`, only `b` has `w`, and 2 more\n\
             hint: merge models of one architecture and size, trained from one base"
        );
        write("a", &[("visual.w", &[1]), ("model.visual.w", &[1])]);
        let twice = said();
        assert!(
            twice.starts_with("`a` holds a tensor twice, as `")
                && twice.contains("visual.w` and `")
        );
    }

    #[test]
    fn what_goes_wrong_on_the_way_is_an_error_and_leaves_nothing() {
        let (dir, _) = three(StoredDtype::F32);
        let out = dir.path().join("out");
        let before = entries(dir.path());
        let run = |spec, dtype, go_on: &dyn Fn(usize) -> bool| {
            let plan = FolderMerge::plan(spec, sources(dir.path(), Some("base")), dtype).unwrap();
            let said = refusal(&plan.write(&out, go_on).unwrap_err());
            assert_eq!(entries(dir.path()), before, "{said}");
            said
        };
        let huge = MergeSpec { lambda: 1e300, ..spec(Method::Ties) };
        let said = run(huge, None, &|_| true);
        assert!(said.contains(" has numbers too large for f32\nhint: "), "{said}");
        let large = MergeSpec { lambda: 1e8, ..spec(Method::Ties) };
        let said = run(large, Some(StoredDtype::F16), &|_| true);
        assert!(said.contains(" has numbers too large for f16\nhint: "), "{said}");
        let said = run(spec(Method::Linear), None, &|num_bytes| num_bytes < 300_000);
        assert!(said.starts_with("stopped before the merge was complete\nhint: "), "{said}");

        // A number of the base, of which the header says nothing.
        let path = dir.path().join("base").join(WHOLE);
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 4;
        bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
        fs::write(&path, bytes).unwrap();
        let said = run(spec(Method::Linear), None, &|_| true);
        assert!(said.contains(" of `") && said.contains("numbers that are not finite"), "{said}");
    }

    #[test]
    fn all_files_but_weights_and_folders_come_from_the_first_folder() {
        let (dir, _) = three(StoredDtype::F32);
        let a = dir.path().join("a");
        let config = "{\n  \"dtype\": \"float32\",\n  \"text_config\": {\n    \"rms_norm_eps\": 1e-6,\n    \
                      \"torch_dtype\": \"float32\"\n  },\n  \"quantization_config\": {\n    \
                      \"dtype\": \"float32\"\n  }\n}\n";
        let taken = [CONFIG, "LICENSE", "chat_template.jinja", "tokenizer.json", ".gitattributes"];
        for file in taken {
            let text = if file.ends_with(".json") { "{}" } else { file };
            fs::write(a.join(file), if file == CONFIG { config } else { text }).unwrap();
        }
        let left = [
            "pytorch_model.bin",
            "pytorch_model.bin.index.json",
            "training_args.bin",
            "optimizer.PT",
            "rng_state.pth",
            "model.ckpt",
            "x.pkl",
            "model.gguf",
            "tf_model.h5",
            "consolidated.safetensors",
            RECORD,
        ];
        for file in left {
            fs::write(a.join(file), "of a").unwrap();
        }
        fs::create_dir(a.join("checkpoint-500")).unwrap();
        fs::write(dir.path().join("b/only_b.json"), "{}").unwrap();
        let run = |out: &Path, dtype| {
            let sources = sources(dir.path(), None);
            let plan = FolderMerge::plan(spec(Method::Slerp), sources, dtype).unwrap();
            plan.write(out, &|_| true).unwrap();
            let mut names = entries(out);
            names.retain(|name| !name.starts_with("model-0") && name != INDEX);
            names
        };
        let (out, half) = (dir.path().join("out"), dir.path().join("half"));
        let mut want: Vec<&str> = [&taken[..], &[RECORD]].concat();
        want.sort_unstable();
        assert_eq!(run(&out, None), want);
        assert_eq!(fs::read_to_string(out.join(CONFIG)).unwrap(), config);
        assert!(!fs::read_to_string(out.join(RECORD)).unwrap().contains("of a"));

        // Another type: config and index say so, the numbers are half as long.
        assert_eq!(run(&half, Some(StoredDtype::Bf16)), want);
        let text = fs::read_to_string(half.join(CONFIG)).unwrap();
        let edited = config.replacen("float32", "bfloat16", 2);
        assert_eq!(text, edited);
        let total = |dir: &Path| {
            let index: Value =
                serde_json::from_str(&fs::read_to_string(dir.join(INDEX)).unwrap()).unwrap();
            index["metadata"]["total_size"].as_u64().unwrap()
        };
        assert_eq!(2 * total(&half), total(&out));
    }

    /// Peak memory of this process in bytes, which is this test's alone.
    #[cfg(target_os = "linux")]
    fn peak_bytes() -> usize {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        1024 * line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_is_that_of_a_few_tensors_not_of_models() {
        const NUM_TENSORS: usize = 48;
        const TENSOR_BYTES: usize = 1 << 20;
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "base"] {
            // Zeros that the file system does not store: a header and a length.
            let mut header = serde_json::Map::new();
            for i in 0..NUM_TENSORS {
                let from = i * TENSOR_BYTES;
                header.insert(
                    format!("model.layers.{i}.w"),
                    json!({
                        "dtype": "F32",
                        "shape": [512, 512],
                        "data_offsets": [from, from + TENSOR_BYTES]
                    }),
                );
            }
            let header = Value::Object(header).to_string();
            fs::create_dir(dir.path().join(name)).unwrap();
            let path = dir.path().join(name).join(WHOLE);
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header.bytes());
            fs::write(&path, &bytes).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_len((bytes.len() + NUM_TENSORS * TENSOR_BYTES) as u64).unwrap();
        }
        for &method in Method::VARIANTS {
            let before = peak_bytes();
            let sources = sources(dir.path(), Some("base"));
            let plan = FolderMerge::plan(spec(method), sources, None).unwrap();
            plan.write(&dir.path().join("out"), &|_| true).unwrap();
            let more = peak_bytes() - before;
            // Three tensors read, one mapped, one of magnitudes, one written, and the allocator's slack.
            assert!(more < 10 * TENSOR_BYTES, "{method:?}: {more} bytes");
            fs::remove_dir_all(dir.path().join("out")).unwrap();
        }
    }
}
