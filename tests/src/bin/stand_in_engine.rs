//! An engine for tests: a server with vLLM's interface whose answers are those of the suite's own engine, and that has the
//! faults that it is told to have.
//!
//! Does not share code with the client that it tests. It is started as vLLM is, `stand-in-engine serve FOLDER --port N …`;
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
use synergy_models::generate::Sampling;
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

struct Server {
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
const CALLS: [&str; 9] = [
    "/inference/v1/generate",
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
    let dir = PathBuf::from(after("serve").expect("serve FOLDER"));
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

    fn serve(&self, mut stream: TcpStream) {
        let Some((path, body)) = request(&stream) else { return };
        let path = path.split('?').next().unwrap_or_default();
        let (status, reply) = self.reply(path, &body);
        let reply = reply.to_string();
        let mut sent = reply.as_str();
        if path == CALLS[0] && self.is_due("cut", self.num_asked.load(Ordering::Relaxed)) {
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
            "/version" => (200, json!({"version": self.fault("version").unwrap_or("0.32.0")})),
            "/openapi.json" => {
                let all = CALLS.iter().filter(|call| self.fault("without") != Some(call));
                let paths: Value = all.map(|call| ((*call).to_owned(), json!({}))).collect();
                (200, json!({"paths": paths}))
            }
            "/v1/models" => {
                let context = self.model.checkpoint.config.layout().max_position_embeddings;
                (200, json!({"data": [{"id": "synergy", "max_model_len": context}]}))
            }
            "/inference/v1/generate" => self.generate(body),
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
            "/update_weight_version" => {
                body["new_version"].as_str().unwrap_or_default().clone_into(version);
            }
            "/v1/load_lora_adapter" => {
                let dir = folder(&body["lora_path"]);
                let read = Adapter::read(&dir, weights, &self.compute.device);
                let Ok(read) = read else { return 404 };
                let name = body["lora_name"].as_str().unwrap_or_default().to_owned();
                *adapter = Some((name, read.apply(weights)));
            }
            // The one before is not kept here.
            "/v1/unload_lora_adapter" => {}
            path if CACHES.contains(&path) => {
                emptied.insert(path.to_owned());
                let stays = self.fault("stale_cache").is_some()
                    || (self.fault("stale_once").is_some() && self.life == 1);
                if emptied.len() == CACHES.len() && !stays {
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
        let name = body["model"].as_str().unwrap_or_default();
        let weights = match &served.adapter {
            Some((adapter, weights)) if adapter == name => weights,
            _ if name == "synergy" => &served.answering,
            _ => return (404, json!({"error": {"message": format!("no model `{name}`")}})),
        };
        let question = self.question(body);
        let checkpoint = &self.model.checkpoint;
        let mut engine = LocalEngine::new(&checkpoint.config, &self.compute, ComputeDtype::F32);
        engine.load(weights).expect("weights of this shape");
        let params = &body["sampling_params"];
        let number = |name: &str| params[name].as_f64().expect("all of the sampling is sent");
        let ends = params["stop_token_ids"].as_array().cloned().unwrap_or_default();
        let sampling = Sampling {
            temperature: number("temperature"),
            top_p: number("top_p"),
            top_k: number("top_k") as usize,
            repetition_penalty: match self.fault("penalty") {
                Some(_) => 4.0,
                None => number("repetition_penalty"),
            },
            max_new_tokens: number("max_tokens") as usize,
            eos_token_id: ends.iter().filter_map(|id| Some(id.as_u64()? as u32)).collect(),
        };
        let seed = params["seed"].as_u64().expect("a seed is sent");
        let version = if self.is_due("mixed", nth) { "other" } else { served.version.as_str() };
        let choice = |index: u64| {
            let asked = std::slice::from_ref(&question);
            let drawn = Seed::root(seed + index);
            let answers = engine.generate(asked, 1, &sampling, drawn).expect("it can be answered");
            let answer = &answers[0][0];
            let content: Vec<Value> = answer
                .ids
                .iter()
                .zip(&answer.log_probs)
                .map(|(id, log_prob)| json!({"token_id": id, "logprob": log_prob}))
                .collect();
            json!({
                "index": index,
                "finish_reason": if answer.finished { "stop" } else { "length" },
                "token_ids": answer.ids,
                "logprobs": {"content": content},
                "weight_versions": [{"version": version, "start": 0, "end": answer.ids.len()}],
            })
        };
        let choices: Vec<Value> = (0..number("n") as u64).map(choice).collect();
        let mut prompt = question.input_ids.clone();
        if self.fault("other_tokens").is_some() {
            prompt.push(7);
        }
        (200, json!({"prompt_token_ids": prompt, "choices": choices}))
    }

    /// The question of a request: every picture's one token becomes as many as the picture has.
    fn question(&self, body: &Value) -> Question {
        let checkpoint = &self.model.checkpoint;
        let parts = body["content_parts"].as_array().cloned().unwrap_or_default();
        let patches: Vec<Patches> = parts
            .iter()
            .map(|part| {
                let url = part["url"].as_str().expect("a picture has an address");
                let text = url.split_once("base64,").expect("a data URL").1;
                let bytes = STANDARD.decode(text).expect("it is base 64");
                let picture = synergy_picture::decode(&bytes).expect("it is a picture");
                checkpoint.processor.patches(&picture).expect("it is wide enough")
            })
            .collect();
        let merge = checkpoint.config.vision_config.spatial_merge_size;
        let mut each = patches.iter().map(|p| p.grid.num_tokens(merge));
        let mut input_ids = Vec::new();
        for id in body["token_ids"].as_array().expect("token ids").iter().filter_map(Value::as_u64)
        {
            let is_picture = id == u64::from(checkpoint.config.image_token_id);
            let num = if is_picture { each.next().expect("a picture for each token") } else { 1 };
            input_ids.extend(std::iter::repeat_n(id as u32, num));
        }
        let mut sample = Sample::procedural(Family::Sum, 0, Split::Test, 0, 1..=1);
        "asked".clone_into(&mut sample.id);
        Question { sample, input_ids, patches, position_gap: 0 }
    }
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
