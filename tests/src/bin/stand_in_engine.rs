//! An engine for tests: a server with vLLM's or SGLang's interface whose answers are those of the suite's own engine, and that
//! has the faults that it is told to have.
//!
//! Does not share code with the client that it tests. It is started as vLLM is, `stand-in-engine serve FOLDER --port N …`, or
//! as SGLang is, `stand-in-engine --model-path FOLDER --port N …`, and then speaks as that one does;
//! `STAND_IN_FAULTS` names faults with commas between them, and `STAND_IN_FOLDER` a folder that outlives it, in which it
//! notes its starts and what it was asked:
//!
//! - `die=N`, `hang=N`, `cut=N`, `mixed=N`: with the Nth question of its first life it ends, says nothing any more, sends
//!   half a reply, or says that other weights answered; `die_always=N` in every life
//! - `out_of_memory`, `port_taken`: it ends at its start, always or the first time
//! - `wrong_model`, `stale_cache`, `penalty`, `other_tokens`: it answers with other weights, with those of before, with a
//!   penalty on repetition, or to another question; `stale_once` has the weights of before until it is started again
//! - `version=V`, `without=PATH`: it says that it has another version, or lacks a call

#![expect(clippy::print_stderr, reason = "a server writes its log to standard error")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use synergy_benchmarks::families::{Family, Split};
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::seed::Seed;
use synergy_models::generate::{Generated, Sampling};
use synergy_models::image::Patches;
use synergy_models::lora::Adapter;
use synergy_models::weights::{ComputeDtype, Parameters};
use synergy_suite::device::Compute;
use synergy_suite::run::model::Model;
use synergy_suite::train::engine::{Engine as _, Question};
use synergy_suite::train::rollout::LocalEngine;

/// What it answers with.
struct Served {
    /// Weights that were given last.
    weights: Parameters,
    /// Weights that answer as long as not every cache has been emptied.
    answering: Parameters,
    emptied: BTreeSet<String>,
    version: String,
    /// The adapter, by its name, with the weights that have it merged in.
    adapter: Option<(String, Parameters)>,
}

/// Whose interface it has.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Vllm,
    Sglang,
}

struct Server {
    kind: Kind,
    model: Model,
    compute: Compute,
    served: RwLock<Served>,
    faults: Vec<(String, String)>,
    folder: Option<PathBuf>,
    /// Which of its lives this is, from 1.
    life: usize,
    num_asked: AtomicUsize,
}

const CACHES: [&str; 3] = ["/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache"];
/// Where questions are asked, of each kind.
const GENERATE: [&str; 2] = ["/inference/v1/generate", "/generate"];
const CALLS_OF_SGLANG: [&str; 5] = [
    GENERATE[1],
    "/update_weights_from_disk",
    "/update_weight_version",
    "/load_lora_adapter",
    "/unload_lora_adapter",
];
const CALLS: [&str; 9] = [
    GENERATE[0],
    "/pause",
    "/collective_rpc",
    CACHES[0],
    CACHES[1],
    CACHES[2],
    "/update_weight_version",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
];

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let after = |name: &str| {
        let place = words.iter().position(|word| word == name);
        place.and_then(|place| words.get(place + 1)).cloned()
    };
    let folder = std::env::var_os("STAND_IN_FOLDER").map(PathBuf::from);
    let life = 1 + folder.as_deref().map_or(0, |folder| noted(folder, "lives").len());
    let faults = std::env::var("STAND_IN_FAULTS").unwrap_or_default();
    let faults: Vec<(String, String)> = faults
        .split(',')
        .map(|fault| fault.split_once('=').unwrap_or((fault, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    if let Some(folder) = &folder {
        note(folder, "lives", &std::process::id().to_string());
    }
    let has = |name: &str| faults.iter().any(|(fault, _)| fault == name);
    if has("out_of_memory") {
        eprintln!(
            "INFO loading\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB\nINFO bye"
        );
        std::process::exit(1);
    }
    if has("port_taken") && life == 1 {
        eprintln!("OSError: [Errno 98] error while attempting to bind: address already in use");
        std::process::exit(1);
    }
    let port: u16 = after("--port").and_then(|port| port.parse().ok()).expect("--port N");
    let (kind, dir) = match after("--model-path") {
        Some(dir) => (Kind::Sglang, dir),
        None => (Kind::Vllm, after("serve").expect("serve FOLDER")),
    };
    let dir = PathBuf::from(dir);
    let compute = Compute::open("flex", Some(1)).expect("the CPU is there");
    let model = Model::open(&dir, None, &compute).expect("the folder holds a model");
    let weights = match has("wrong_model") {
        false => model.parameters.clone(),
        true => {
            let mut rng = Seed::root(99).rng();
            Parameters::init(&model.checkpoint.config, &mut rng, &compute.device)
        }
    };
    let served = Served {
        answering: weights.clone(),
        weights,
        emptied: BTreeSet::new(),
        version: "default".to_owned(),
        adapter: None,
    };
    let server = Server {
        kind,
        model,
        compute,
        served: RwLock::new(served),
        faults,
        folder,
        life,
        num_asked: AtomicUsize::new(0),
    };
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    std::thread::scope(|scope| {
        for stream in listener.incoming().flatten() {
            let server = &server;
            scope.spawn(move || server.serve(stream));
        }
    });
}

/// Adds a line to a file of the folder.
fn note(folder: &Path, name: &str, line: &str) {
    let file = fs::OpenOptions::new().create(true).append(true).open(folder.join(name));
    let mut file = file.expect("the folder can be written");
    writeln!(file, "{line}").expect("the folder can be written");
}

/// The lines of a file of the folder.
fn noted(folder: &Path, name: &str) -> Vec<String> {
    let text = fs::read_to_string(folder.join(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

impl Server {
    fn fault(&self, name: &str) -> Option<&str> {
        self.faults.iter().find(|(fault, _)| fault == name).map(|(_, value)| value.as_str())
    }

    /// Whether the fault `name` is due with the question `nth`, from 1: in the first life only.
    fn is_due(&self, name: &str, nth: usize) -> bool {
        self.life == 1 && self.fault(name).and_then(|n| n.parse().ok()) == Some(nth)
    }

    /// Whether it answers with what it has computed with weights of before.
    fn is_stale(&self) -> bool {
        self.fault("stale_cache").is_some()
            || (self.fault("stale_once").is_some() && self.life == 1)
    }

    fn serve(&self, mut stream: TcpStream) {
        let Some((path, body)) = request(&stream) else { return };
        let path = path.split('?').next().unwrap_or_default();
        let (status, reply) = self.reply(path, &body);
        let reply = reply.to_string();
        let mut sent = reply.as_str();
        if GENERATE.contains(&path) && self.is_due("cut", self.num_asked.load(Ordering::Relaxed)) {
            sent = &reply[..reply.len() / 2];
        }
        let head = format!(
            "HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            sent.len()
        );
        // A client that has given up is no fault.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent.as_bytes()));
    }

    fn reply(&self, path: &str, body: &Value) -> (u16, Value) {
        match path {
            "/health" => (200, Value::Null),
            "/version" | "/server_info" => {
                let own = if self.kind == Kind::Vllm { "0.32.0" } else { "0.5.23" };
                (200, json!({"version": self.fault("version").unwrap_or(own)}))
            }
            "/openapi.json" => {
                let all: &[&str] = match self.kind {
                    Kind::Vllm => &CALLS,
                    Kind::Sglang => &CALLS_OF_SGLANG,
                };
                let all = all.iter().filter(|call| self.fault("without") != Some(call));
                let paths: Value = all.map(|call| ((*call).to_owned(), json!({}))).collect();
                (200, json!({"paths": paths}))
            }
            "/v1/models" => {
                let context = self.model.checkpoint.config.layout().max_position_embeddings;
                (200, json!({"data": [{"id": "synergy", "max_model_len": context}]}))
            }
            path if GENERATE.contains(&path) => self.generate(body),
            _ => (self.change(path, body), json!({})),
        }
    }

    /// Does what a call asks for that changes what answers.
    fn change(&self, path: &str, body: &Value) -> u16 {
        if let Some(folder) = &self.folder {
            note(folder, "calls", path);
        }
        let mut served = self.served.write().expect("no thread panics");
        let Served { weights, answering, emptied, version, adapter } = &mut *served;
        let folder = |value: &Value| PathBuf::from(value.as_str().unwrap_or_default());
        match path {
            "/pause" | "/resume" => {}
            "/collective_rpc" => {
                let dir = folder(&body["kwargs"]["weights_path"]);
                let Ok(model) = Model::open(&dir, None, &self.compute) else { return 500 };
                *weights = model.parameters;
                emptied.clear();
                *adapter = None;
            }
            "/update_weights_from_disk" => {
                let Ok(model) = Model::open(&folder(&body["model_path"]), None, &self.compute)
                else {
                    return 400;
                };
                *weights = model.parameters;
                *adapter = None;
                body["weight_version"].as_str().unwrap_or_default().clone_into(version);
                if body["flush_cache"] == json!(true) && !self.is_stale() {
                    *answering = weights.clone();
                }
            }
            "/update_weight_version" => {
                body["new_version"].as_str().unwrap_or_default().clone_into(version);
            }
            "/v1/load_lora_adapter" | "/load_lora_adapter" => {
                let dir = folder(&body["lora_path"]);
                let read = Adapter::read(&dir, weights, &self.compute.device);
                let Ok(read) = read else { return 404 };
                let name = body["lora_name"].as_str().unwrap_or_default().to_owned();
                *adapter = Some((name, read.apply(weights)));
            }
            // The one before is not kept here.
            "/v1/unload_lora_adapter" | "/unload_lora_adapter" => {}
            path if CACHES.contains(&path) => {
                emptied.insert(path.to_owned());
                if emptied.len() == CACHES.len() && !self.is_stale() {
                    *answering = weights.clone();
                }
            }
            _ => return 404,
        }
        200
    }

    fn generate(&self, body: &Value) -> (u16, Value) {
        let nth = 1 + self.num_asked.fetch_add(1, Ordering::Relaxed);
        if let Some(folder) = &self.folder {
            note(folder, "asked", &self.life.to_string());
        }
        let always = self.fault("die_always").and_then(|n| n.parse().ok()) == Some(nth);
        if self.is_due("die", nth) || always {
            eprintln!("RuntimeError: Engine core died");
            std::process::exit(1);
        }
        if self.is_due("hang", nth) {
            std::thread::sleep(Duration::from_secs(3600));
        }
        let served = self.served.read().expect("no thread panics");
        let wish = match self.kind {
            Kind::Vllm => Wish::of_vllm(body),
            Kind::Sglang => Wish::of_sglang(body),
        };
        let weights = match (&served.adapter, wish.name) {
            (Some((adapter, weights)), Some(name)) if adapter == name => weights,
            (_, None) => &served.answering,
            (_, Some(name)) => {
                return (404, json!({"error": {"message": format!("no model `{name}`")}}));
            }
        };
        let question = self.question(wish.ids, &wish.pictures);
        let checkpoint = &self.model.checkpoint;
        let mut engine = LocalEngine::new(&checkpoint.config, &self.compute, ComputeDtype::F32);
        engine.load(weights).expect("weights of this shape");
        let version = if self.is_due("mixed", nth) { "other" } else { served.version.as_str() };
        let mut prompt = question.input_ids.clone();
        if self.fault("other_tokens").is_some() {
            prompt.push(7);
        }
        let answers = wish.answers.iter().map(|(sampling, seed)| {
            let repetition_penalty = match self.fault("penalty") {
                Some(_) => 4.0,
                None => sampling.repetition_penalty,
            };
            let sampling = Sampling { repetition_penalty, ..sampling.clone() };
            let asked = std::slice::from_ref(&question);
            let mut answers = engine
                .generate(asked, 1, &sampling, Seed::root(*seed))
                .expect("it can be answered");
            answers.remove(0).remove(0)
        });
        let answers: Vec<Generated> = answers.collect();
        let said = match self.kind {
            Kind::Vllm => say_as_vllm(&answers, &prompt, version),
            Kind::Sglang => say_as_sglang(&answers, &prompt, version),
        };
        (200, said)
    }

    /// The question of a request: every picture's one token becomes as many as the picture has.
    fn question(&self, ids: &Value, urls: &[&str]) -> Question {
        let checkpoint = &self.model.checkpoint;
        let patches: Vec<Patches> = urls
            .iter()
            .map(|url| {
                let text = url.split_once("base64,").expect("a data URL").1;
                let bytes = STANDARD.decode(text).expect("it is base 64");
                let picture = synergy_picture::decode(&bytes).expect("it is a picture");
                checkpoint.processor.patches(&picture).expect("it is wide enough")
            })
            .collect();
        let merge = checkpoint.config.vision_config.spatial_merge_size;
        let mut each = patches.iter().map(|p| p.grid.num_tokens(merge));
        let mut input_ids = Vec::new();
        for id in ids.as_array().expect("token ids").iter().filter_map(Value::as_u64) {
            let is_picture = id == u64::from(checkpoint.config.image_token_id);
            let num = if is_picture { each.next().expect("a picture for each token") } else { 1 };
            input_ids.extend(std::iter::repeat_n(id as u32, num));
        }
        let mut sample = Sample::procedural(Family::Sum, 0, Split::Test, 0, 1..=1);
        "asked".clone_into(&mut sample.id);
        Question { sample, input_ids, patches, position_gap: 0 }
    }
}

/// A question as it is asked.
struct Wish<'a> {
    ids: &'a Value,
    /// The addresses of its pictures, which hold them.
    pictures: Vec<&'a str>,
    /// The adapter's name.
    name: Option<&'a str>,
    /// How each answer is drawn, and from which number.
    answers: Vec<(Sampling, u64)>,
}

impl Wish<'_> {
    fn of_vllm(body: &Value) -> Wish<'_> {
        let parts = body["content_parts"].as_array().map_or(&[][..], Vec::as_slice);
        let params = &body["sampling_params"];
        let seed = params["seed"].as_u64().expect("a seed is sent");
        let sampling = sampling(params, "max_tokens");
        let num = params["n"].as_u64().expect("it is sent");
        Wish {
            ids: &body["token_ids"],
            pictures: parts.iter().filter_map(|part| part["url"].as_str()).collect(),
            name: body["model"].as_str().filter(|name| *name != "synergy"),
            answers: (0..num).map(|number| (sampling.clone(), seed + number)).collect(),
        }
    }

    fn of_sglang(body: &Value) -> Wish<'_> {
        let every = |name: &str| body[name].as_array().map_or(&[][..], Vec::as_slice);
        let ids = every("input_ids");
        // All are the same question.
        assert!(ids.iter().all(|other| *other == ids[0]), "one question");
        let pictures = every("image_data").first().and_then(Value::as_array);
        let pictures = pictures.map_or(&[][..], Vec::as_slice);
        let drawn = |params: &Value| {
            let seed = params["sampling_seed"].as_u64().expect("a seed is sent");
            (sampling(params, "max_new_tokens"), seed)
        };
        Wish {
            ids: &ids[0],
            pictures: pictures.iter().filter_map(Value::as_str).collect(),
            name: every("lora_path").first().and_then(Value::as_str),
            answers: every("sampling_params").iter().map(drawn).collect(),
        }
    }
}

/// How an answer is drawn; `longest` is the name of the limit of its tokens.
fn sampling(params: &Value, longest: &str) -> Sampling {
    let number = |name: &str| params[name].as_f64().expect("all of the sampling is sent");
    let ends = params["stop_token_ids"].as_array().cloned().unwrap_or_default();
    Sampling {
        temperature: number("temperature"),
        top_p: number("top_p"),
        // One of the two says -1 for all.
        top_k: number("top_k").max(0.0) as usize,
        repetition_penalty: number("repetition_penalty"),
        max_new_tokens: number(longest) as usize,
        eos_token_id: ends.iter().filter_map(|id| Some(id.as_u64()? as u32)).collect(),
    }
}

fn reason(answer: &Generated) -> &'static str {
    if answer.finished { "stop" } else { "length" }
}

fn say_as_vllm(answers: &[Generated], prompt: &[u32], version: &str) -> Value {
    let choice = |(index, answer): (usize, &Generated)| {
        let tokens = answer.ids.iter().zip(&answer.log_probs);
        let content = tokens.map(|(id, log_prob)| json!({"token_id": id, "logprob": log_prob}));
        json!({
            "index": index,
            "finish_reason": reason(answer),
            "token_ids": answer.ids,
            "logprobs": {"content": content.collect::<Vec<_>>()},
            "weight_versions": [{"version": version, "start": 0, "end": answer.ids.len()}],
        })
    };
    let choices: Vec<Value> = answers.iter().enumerate().map(choice).collect();
    json!({"prompt_token_ids": prompt, "choices": choices})
}

fn say_as_sglang(answers: &[Generated], prompt: &[u32], version: &str) -> Value {
    let said = |answer: &Generated| {
        let tokens = answer.ids.iter().zip(&answer.log_probs);
        let tokens = tokens.map(|(id, log_prob)| json!([log_prob, id, null]));
        json!({
            "output_ids": answer.ids,
            "prompt_token_ids": prompt,
            "meta_info": {
                "finish_reason": {"type": reason(answer)},
                "output_token_logprobs": tokens.collect::<Vec<_>>(),
                "weight_version": version,
                "weight_versions": [{"version": version, "start": 0, "end": answer.ids.len()}],
            },
        })
    };
    answers.iter().map(said).collect()
}

/// Reads a request: its path and the JSON of its body.
fn request(stream: &TcpStream) -> Option<(String, Value)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let header = line.trim().to_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, serde_json::from_slice(&body).unwrap_or_default()))
}
