//! The client against a server on loopback that misbehaves as it is told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::LazyLock;

use super::*;
use crate::commands::evaluate::ask::Purpose;
use serde_json::json;
use synergy_benchmarks::families::{Family, Split};
use synergy_benchmarks::sample::{ImageSource, Sample};

/// How the server treats a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Answers,
    Status(u16),
    /// 429 with a wait of no seconds, which must be believed over the client's own.
    RetryAfterNothing,
    /// Says nothing until the client gives up.
    Stalls,
    /// Closes the connection without a word.
    HangsUp,
    /// Promises more bytes than it sends.
    BreaksOff,
    WrongJson,
    NoChoice,
    /// Streams although it was not asked to.
    Streams,
    /// Streams, and ends before it says that it is at the end.
    StreamBreaksOff,
    /// Says that the answer ended, and has none.
    SaysNothing,
    /// Answers with this finish reason.
    Ends(Option<&'static str>),
    /// Fills its limit, and counts so many tokens of the question.
    Fills(u64),
}

/// Why a request is not taken as it is, if it is not.
type Refuse = fn(&Value) -> Option<String>;

/// Answers `echo <question>` for every request, after the moods of that question have been lived out.
struct Server {
    url: String,
    /// Requests by question, whatever came of them.
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
    /// The bodies of those requests that were answered or failed, not of those that were refused.
    taken: Arc<Mutex<Vec<Value>>>,
}

/// How a server treats everybody.
struct Manners<M> {
    moods: M,
    refuse: Refuse,
    /// What it serves, as its list of models says.
    models: Value,
}

impl Server {
    fn start(moods: impl Fn(&str, usize) -> Mood + Send + Sync + 'static) -> Server {
        Server::polite(Manners { moods, refuse: |_| None, models: Value::Null })
    }

    /// A server that refuses some requests, and says what it serves.
    fn polite(manners: Manners<impl Fn(&str, usize) -> Mood + Send + Sync + 'static>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server::at(format!("http://{}/v1", listener.local_addr().unwrap()));
        let (asked, taken) = (Arc::clone(&server.asked), Arc::clone(&server.taken));
        let manners = Arc::new(manners);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (asked, taken) = (Arc::clone(&asked), Arc::clone(&taken));
                let manners = Arc::clone(&manners);
                std::thread::spawn(move || serve(stream.unwrap(), &asked, &taken, &*manners));
            }
        });
        server
    }

    /// Nobody, or somebody else, at `url`.
    fn at(url: String) -> Server {
        Server { url, asked: Arc::default(), taken: Arc::default() }
    }

    fn num_asked(&self, question: &str) -> usize {
        self.asked.lock().unwrap().get(question).copied().unwrap_or(0)
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint {
            url: self.url.clone(),
            model: "tiny".to_owned(),
            revision: "1".to_owned(),
            api_key: Some("secret".to_owned()),
            concurrency: 4,
            timeout: Duration::from_millis(400),
            num_retries: 4,
            wait: Duration::from_millis(5),
        }
    }
}

fn serve<M: Fn(&str, usize) -> Mood>(
    mut stream: TcpStream,
    asked: &Mutex<BTreeMap<String, usize>>,
    taken: &Mutex<Vec<Value>>,
    manners: &Manners<M>,
) {
    let Some((is_post, body)) = request(&mut stream) else { return };
    let mut say = |head: &str, length: usize, body: &str| {
        let text = format!(
            "HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        // A client that has given up is no fault of ours.
        let _ = stream.write_all(text.as_bytes());
    };
    if !is_post {
        let models = manners.models.to_string();
        return say("200 OK", models.len(), &models);
    }
    let content = &body["messages"][0]["content"];
    let question = content.as_array().unwrap().last().unwrap()["text"].as_str().unwrap().to_owned();
    let nth = {
        let mut asked = asked.lock().unwrap();
        let count = asked.entry(question.clone()).or_default();
        *count += 1;
        *count - 1
    };
    if let Some(message) = (manners.refuse)(&body) {
        let text = json!({"error": {"message": message}}).to_string();
        return say("400 Bad Request", text.len(), &text);
    }
    let limit = body["max_tokens"].clone();
    taken.lock().unwrap().push(body);
    let answer = |content: Option<String>, reason: Option<&str>| {
        json!({
            "choices": [{"message": {"content": content}, "finish_reason": reason}],
            "usage": {"completion_tokens": 3},
        })
        .to_string()
    };
    let whole = answer(Some(format!("echo {question}")), Some("stop"));
    let event = |value: Value| format!("data: {value}\n\n");
    let delta = |text: &str| event(json!({"choices": [{"index": 0, "delta": {"content": text}}]}));
    let stream_text = delta("echo ")
        + &delta(&question)
        + &event(json!({
            "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
            "usage": {"completion_tokens": 3},
        }));
    match (manners.moods)(&question, nth) {
        Mood::Answers => say("200 OK", whole.len(), &whole),
        Mood::Status(status) => say(&format!("{status} Oh"), 4, "busy"),
        Mood::RetryAfterNothing => say("429 Slow\r\nRetry-After: 0", 4, "slow"),
        Mood::Stalls => std::thread::sleep(Duration::from_millis(900)),
        Mood::HangsUp => {}
        Mood::BreaksOff => say("200 OK", whole.len(), &whole[..whole.len() / 2]),
        Mood::WrongJson => say("200 OK", 7, "<html/>"),
        Mood::Streams => say("200 OK", stream_text.len(), &stream_text),
        Mood::StreamBreaksOff => {
            let half = &stream_text[..stream_text.rfind("data: ").unwrap_or(0)];
            say("200 OK", half.len(), half);
        }
        Mood::NoChoice => say("200 OK", 14, "{\"choices\":[]}"),
        Mood::SaysNothing => {
            let text = answer(None, Some("stop"));
            say("200 OK", text.len(), &text);
        }
        Mood::Fills(num_tokens) => {
            let mut full: Value =
                serde_json::from_str(&answer(Some("a ".to_owned()), Some("length"))).unwrap();
            full["usage"] = json!({"completion_tokens": limit, "prompt_tokens": num_tokens});
            let text = full.to_string();
            say("200 OK", text.len(), &text);
        }
        Mood::Ends(reason) => {
            let text = answer(Some(format!("echo {question}")), reason);
            say("200 OK", text.len(), &text);
        }
    }
}

/// Whether it is a POST, and the body of one request.
fn request(stream: &mut TcpStream) -> Option<(bool, Value)> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut length, mut is_post) = (0, false);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim().to_lowercase();
        is_post |= line.starts_with("post ");
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "authorization: bearer wrong" {
            return None;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((is_post, serde_json::from_slice(&body).unwrap_or_default()))
}

/// Texts of questions and a picture for all of them.
static TEXTS: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..20).map(|i| format!("question {i}")).collect());
static IMAGES: LazyLock<Vec<ImageSource>> =
    LazyLock::new(|| Sample::procedural(Family::Sum, 1, Split::Test, 0, 1..=1).images);

/// Two samples of each question.
fn asks(count: usize) -> Vec<Ask<'static>> {
    let ask = |i: usize| Ask {
        id: &TEXTS[i / 2],
        text: &TEXTS[i / 2],
        images: &IMAGES,
        sample: (i % 2) as u32,
        purpose: Purpose::Measure,
    };
    (0..count).map(ask).collect()
}

fn key_of(endpoint: &Endpoint, drawing: &Drawing, ask: &Ask<'_>) -> Key {
    let pictures: Vec<Vec<u8>> = ask.images.iter().map(|image| bytes(image).unwrap()).collect();
    key(&endpoint.model, &endpoint.revision, drawing, ask, &pictures)
}

const DRAWING: Drawing =
    Drawing { temperature: 0.6, top_p: 0.95, top_k: 20, max_new_tokens: 64, seed: 1 };

/// Asks `asks` of `endpoint`, with a cache in `dir`.
fn answer(endpoint: &Endpoint, asks: &[Ask<'_>], dir: &tempfile::TempDir) -> Result<Vec<Answer>> {
    endpoint.answer(&DRAWING, asks, &Cache::new(dir.path()), Streak::new(false), |_| {})
}

/// What every question is answered with.
fn echo(text: &str) -> Reply {
    Reply {
        text: format!("echo {text}"),
        num_tokens: Some(3),
        finished: true,
        left_out: Vec::new(),
    }
}

#[test]
fn every_answer_comes_once_and_in_order_through_all_that_goes_wrong() {
    let moods = [
        Mood::Status(429),
        Mood::RetryAfterNothing,
        Mood::Status(500),
        Mood::Status(503),
        Mood::Stalls,
        Mood::HangsUp,
        Mood::BreaksOff,
        Mood::WrongJson,
        Mood::NoChoice,
        Mood::StreamBreaksOff,
    ];
    // Question k meets its own trouble in its first two requests, which both samples share.
    let server = Server::start(move |question, nth| {
        let k: usize = question.trim_start_matches("question ").parse().unwrap();
        match nth {
            0 | 1 => moods[k % moods.len()],
            2 => Mood::Answers,
            _ => Mood::Streams,
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(dir.path());
    let asks = asks(2 * moods.len());
    let told = AtomicUsize::new(0);
    let heard = |_| {
        told.fetch_add(1, Ordering::Relaxed);
    };
    let streak = Streak::new(false);
    let answers = server.endpoint().answer(&DRAWING, &asks, &cache, streak, heard).unwrap();
    assert_eq!(told.into_inner(), asks.len());
    for (ask, reply) in asks.iter().zip(&answers) {
        assert_eq!(*reply, Ok(echo(ask.text)));
        // Two that failed and two that were answered.
        assert_eq!(server.num_asked(ask.text), 4, "{}", ask.text);
    }
    // All are kept: nothing is asked again.
    assert_eq!(answer(&server.endpoint(), &asks, &dir).unwrap(), answers);
    assert_eq!(server.num_asked("question 0"), 4);
}

#[test]
fn an_answer_that_stays_out_is_the_outcome_of_its_question_and_asked_again_the_next_time() {
    let server = Server::start(|question, nth| match question {
        "question 1" if nth < 10 => Mood::Status(502),
        "question 2" => Mood::SaysNothing,
        _ => Mood::Answers,
    });
    let dir = tempfile::tempdir().unwrap();
    let asks = asks(6);
    let answers = answer(&server.endpoint(), &asks, &dir).unwrap();
    let told: Vec<Option<&Unanswered>> = answers.iter().map(|a| a.as_ref().err()).collect();
    let gone = Unanswered {
        obstacle: Obstacle::NoReply,
        cause: "status 502: busy (the last of 5 attempts)".to_owned(),
    };
    let empty = Unanswered {
        obstacle: Obstacle::Empty,
        cause: "the reply has no text: the answer ended (the last of 5 attempts)".to_owned(),
    };
    let [gone, empty] = [Some(&gone), Some(&empty)];
    assert_eq!(told, [None, None, gone, gone, empty, empty]);
    assert_eq!(server.num_asked("question 1"), 10);
    // What is there is kept; what is missing is asked for again.
    let again = answer(&server.endpoint(), &asks, &dir).unwrap();
    assert_eq!(again[..2], answers[..2]);
    assert_eq!(again[2..4], [Ok(echo("question 1")), Ok(echo("question 1"))]);
    assert_eq!((server.num_asked("question 0"), server.num_asked("question 1")), (2, 12));
}

#[test]
fn a_request_that_is_refused_is_the_outcome_of_its_question_unless_all_are() {
    let refuse: Refuse = |body| {
        let text = body["messages"][0]["content"][1]["text"].as_str()?;
        ["question 1", "question 3"].contains(&text).then(|| "too thin".to_owned())
    };
    let manners =
        |refuse| Manners { moods: |_: &str, _| Mood::Answers, refuse, models: Value::Null };
    let server = Server::polite(manners(refuse));
    let dir = tempfile::tempdir().unwrap();
    let asks = asks(40);
    let answers = answer(&server.endpoint(), &asks, &dir).unwrap();
    let why = Unanswered { obstacle: Obstacle::Refused, cause: "status 400: too thin".to_owned() };
    for (ask, answer) in asks.iter().zip(&answers) {
        match ask.text {
            "question 1" | "question 3" => assert_eq!(*answer, Err(why.clone())),
            text => assert_eq!(*answer, Ok(echo(text))),
        }
    }
    assert_eq!(server.num_asked("question 1"), 2);
    let server = Server::polite(manners(|_| Some("no such thing".to_owned())));
    let endpoint = Endpoint { concurrency: 1, ..server.endpoint() };
    let error = answer(&endpoint, &asks, &tempfile::tempdir().unwrap()).unwrap_err();
    let text = synergy_hint::text(&error);
    let want = "8 questions in a row have no answer, the last, `question 7`: status 400: no such thing\nhint: ";
    assert!(text.starts_with(want), "{text}");
    assert_eq!((server.num_asked("question 7"), server.num_asked("question 8")), (1, 0));
}

#[test]
fn fields_that_a_server_does_not_take_are_left_out_and_told() {
    let refuse: Refuse = |body| {
        let extra: Vec<&str> = ["min_p", "repetition_penalty", "top_k"]
            .into_iter()
            .filter(|field| body.get(field).is_some())
            .collect();
        if !extra.is_empty() {
            return Some(format!("Unexpected keys in the request: {extra:?}"));
        }
        body.get("max_tokens").map(|_| {
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use \
             'max_completion_tokens' instead."
                .to_owned()
        })
    };
    let manners = Manners { moods: |_: &str, _| Mood::Answers, refuse, models: Value::Null };
    let server = Server::polite(manners);
    let dir = tempfile::tempdir().unwrap();
    let endpoint = Endpoint { concurrency: 1, ..server.endpoint() };
    let answers = answer(&endpoint, &asks(4), &dir).unwrap();
    let left_out = ["min_p", "repetition_penalty", "top_k"].map(str::to_owned).to_vec();
    assert_eq!(answers[0], Ok(Reply { left_out: left_out.clone(), ..echo("question 0") }));
    // What was learned once holds for all: two refusals, then four answers.
    let asked: usize = server.asked.lock().unwrap().values().sum();
    assert_eq!(asked, 6);
    let bodies = server.taken.lock().unwrap();
    assert!(bodies.iter().all(|body| body["max_completion_tokens"] == 64 && body["top_p"] == 0.95));
    // Answers of before say the same of themselves.
    drop(bodies);
    assert_eq!(answer(&endpoint, &asks(4), &dir).unwrap(), answers);
}

#[test]
fn the_limit_of_an_answer_is_what_the_question_leaves_of_the_context() {
    let refuse: Refuse = |body| {
        let (limit, text) = (body["max_tokens"].as_u64()?, body["messages"].to_string());
        let prompt = if text.contains("question 1") { 90 } else { 30 };
        (limit + prompt > 80).then(|| {
            format!(
                "This model's maximum context length is 80 tokens and your request has {prompt} input tokens"
            )
        })
    };
    let serve =
        |models| Server::polite(Manners { moods: |_: &str, _| Mood::Answers, refuse, models });
    let limits = |server: &Server| -> Vec<Value> {
        let endpoint = Endpoint { concurrency: 1, ..server.endpoint() };
        let answers = answer(&endpoint, &asks(4), &tempfile::tempdir().unwrap()).unwrap();
        assert_eq!(answers[..2], [Ok(echo("question 0")), Ok(echo("question 0"))]);
        let why = answers[2].as_ref().unwrap_err();
        assert_eq!(why.obstacle, Obstacle::TooLong, "{why:?}");
        server.taken.lock().unwrap().iter().map(|body| body["max_tokens"].clone()).collect()
    };
    // Of the 64 that are asked for, 50 are left beside the prompt's 30: a refusal says so.
    let server = serve(Value::Null);
    assert_eq!(limits(&server), [50, 50]);
    // What one refusal told holds for the other answer.
    assert_eq!(server.num_asked("question 0"), 3);
    // Where the list of models tells it, nothing is refused.
    let server = serve(json!({"data": [{"id": "other"}, {"id": "tiny", "max_model_len": 51}]}));
    assert_eq!(limits(&server), [50, 50]);
    assert_eq!(server.num_asked("question 0"), 2);
}

#[test]
fn one_refusal_tells_the_context_to_all_questions_alike() {
    let refuse: Refuse = |body| {
        let limit = body["max_tokens"].as_u64()?;
        (limit + 30 > 80).then(|| {
            "This model's maximum context length is 80 tokens and your request has 30 input tokens"
                .to_owned()
        })
    };
    let models = Value::Null;
    let server = Server::polite(Manners { moods: |_: &str, _| Mood::Answers, refuse, models });
    let endpoint = Endpoint { concurrency: 1, ..server.endpoint() };
    answer(&endpoint, &asks(12), &tempfile::tempdir().unwrap()).unwrap();
    assert_eq!(server.asked.lock().unwrap().values().sum::<usize>(), 12 + 1);
    // A limit that no question changes.
    let refuse: Refuse = |body| {
        let text = "max_tokens is too large. This model supports at most 40 completion tokens.";
        (body["max_tokens"].as_u64()? > 40).then(|| text.to_owned())
    };
    let models = Value::Null;
    let server = Server::polite(Manners { moods: |_: &str, _| Mood::Answers, refuse, models });
    let endpoint = Endpoint { concurrency: 1, ..server.endpoint() };
    answer(&endpoint, &asks(12), &tempfile::tempdir().unwrap()).unwrap();
    assert_eq!(server.asked.lock().unwrap().values().sum::<usize>(), 12 + 1);
}

#[test]
fn an_answer_that_was_cut_before_its_room_was_full_is_asked_for_again() {
    // Question 0 has 30 tokens, question 1 has 20: as if it had 30 it gets 50, and has room for 60.
    let refuse: Refuse = |body| {
        let is_short = body["messages"].to_string().contains("question 1");
        let (limit, prompt) = (body["max_tokens"].as_u64()?, if is_short { 20 } else { 30 });
        (limit + prompt > 80).then(|| {
            format!("the maximum context length is 80 and your request has {prompt} input tokens")
        })
    };
    let moods = |question: &str, _| Mood::Fills(if question == "question 1" { 20 } else { 30 });
    let server = Server::polite(Manners { moods, refuse, models: Value::Null });
    let endpoint = Endpoint { concurrency: 1, ..server.endpoint() };
    let answers = answer(&endpoint, &asks(4), &tempfile::tempdir().unwrap()).unwrap();
    let counts: Vec<_> = answers.iter().map(|a| a.as_ref().unwrap().num_tokens).collect();
    assert_eq!(counts, [Some(50), Some(50), Some(60), Some(60)]);
}

#[test]
fn an_answer_that_a_filter_stopped_is_refused_whatever_it_let_through() {
    let server = Server::start(|question, _| match question {
        "question 1" => Mood::Ends(Some("content_filter")),
        _ => Mood::Answers,
    });
    let dir = tempfile::tempdir().unwrap();
    let answers = answer(&server.endpoint(), &asks(4), &dir).unwrap();
    assert_eq!(answers[..2], [Ok(echo("question 0")), Ok(echo("question 0"))]);
    let cause = "a content filter of the endpoint stopped the answer".to_owned();
    let why = Unanswered { obstacle: Obstacle::Refused, cause };
    assert_eq!(answers[2..], [Err(why.clone()), Err(why)]);
    // Neither tried again nor kept.
    assert_eq!(server.num_asked("question 1"), 2);
    answer(&server.endpoint(), &asks(4), &dir).unwrap();
    assert_eq!(server.num_asked("question 1"), 4);
}

#[test]
fn a_text_with_a_token_of_the_template_is_not_sent() {
    let server = Server::start(|_, _| Mood::Answers);
    let dir = tempfile::tempdir().unwrap();
    let whole = asks(1).remove(0);
    let typed = Ask { text: "What <|image_pad|>?", ..whole };
    let answers = answer(&server.endpoint(), &[typed, whole], &dir).unwrap();
    let why = answers[0].as_ref().unwrap_err();
    assert_eq!(why.obstacle, Obstacle::Prompt);
    assert!(why.cause.contains("`<|image_pad|>`"), "{why:?}");
    assert_eq!(answers[1], Ok(echo("question 0")));
    assert_eq!(server.num_asked(typed.text), 0);
}

#[test]
fn the_context_is_found_in_lists_of_models() {
    for (list, want) in [
        (json!({"data": [{"id": "m", "max_model_len": 2048.0}]}), Some(2048)),
        (json!({"data": [{"id": "m", "max_model_len": " 2048 "}]}), Some(2048)),
        (json!({"data": [{"id": "m", "max_model_len": "4096.0"}]}), Some(4096)),
        // What is no number leaves the word to the next name.
        (
            json!({"data": [{"id": "m", "max_model_len": "auto", "context_length": 4096}]}),
            Some(4096),
        ),
        (json!({"data": [{"id": "m", "max_model_len": -1}]}), None),
        (json!({"data": [{"id": "m", "max_model_len": 0.5}]}), None),
        (json!({"data": [{"id": "m", "max_model_len": 2048}]}), Some(2048)),
        (json!({"data": [{"id": "m", "context_length": 4096}]}), Some(4096)),
        (json!([{"id": "m", "context_window": 10}]), Some(10)),
        (
            json!({"data": [{"id": "b", "max_model_len": 9}, {"id": "m", "parent": "b", "max_model_len": null}]}),
            Some(9),
        ),
        (json!({"data": [{"id": "b", "max_model_len": 9}]}), None),
        (json!({"data": [{"id": "m"}]}), None),
        (json!({"data": []}), None),
        (json!(null), None),
    ] {
        assert_eq!(context_of(&list, "m"), want, "{list}");
    }
}

#[test]
fn the_same_question_is_asked_once_however_often_it_stands_in_a_set() {
    let server = Server::start(|_, _| Mood::Answers);
    let dir = tempfile::tempdir().unwrap();
    let same: Vec<Ask<'_>> = (0..8).map(|_| asks(1).remove(0)).collect();
    let answers = answer(&server.endpoint(), &same, &dir).unwrap();
    assert!(answers.len() == 8 && answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(server.num_asked(same[0].text), 1);
}

#[test]
fn an_endpoint_that_is_gone_is_not_waited_for() {
    let server = Server::start(|_, _| Mood::HangsUp);
    let dir = tempfile::tempdir().unwrap();
    let endpoint = Endpoint { concurrency: 2, num_retries: 1, ..server.endpoint() };
    let error = answer(&endpoint, &asks(40), &dir).unwrap_err();
    let text = synergy_hint::text(&error);
    assert!(
        text.starts_with("8 questions in a row have no answer, the last, `question "),
        "{text}"
    );
    assert!(text.contains("\nhint: is the server well?"), "{text}");
    let asked: usize = server.asked.lock().unwrap().values().sum();
    assert!(asked <= 2 * 2 * 9, "{asked}");
}

#[test]
fn a_refusal_that_is_about_no_question_ends_the_run_at_once() {
    let server = Server::start(|_, _| Mood::Status(401));
    let dir = tempfile::tempdir().unwrap();
    let endpoint = Endpoint { concurrency: 1, ..server.endpoint() };
    let error = answer(&endpoint, &asks(6), &dir).unwrap_err();
    let want = "the endpoint refuses the request with status 401: busy\nhint: ";
    assert!(synergy_hint::text(&error).starts_with(want), "{error}");
    assert_eq!(server.num_asked("question 0"), 1);
}

#[test]
fn nobody_at_the_address_is_told_after_all_attempts() {
    let dir = tempfile::tempdir().unwrap();
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::at(format!("http://{unused}/v1"));
    let answers = answer(&server.endpoint(), &asks(1), &dir).unwrap();
    let why = answers[0].as_ref().unwrap_err();
    assert_eq!(why.obstacle, Obstacle::NoReply);
    assert!(why.cause.ends_with("(the last of 5 attempts)"), "{why:?}");
    let nowhere = Endpoint { url: "no address".to_owned(), ..server.endpoint() };
    let error = answer(&nowhere, &asks(1), &dir).unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[test]
fn a_picture_that_cannot_be_read_is_the_outcome_of_its_question() {
    let server = Server::start(|_, _| Mood::Answers);
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken.png");
    std::fs::write(&broken, "no picture").unwrap();
    let images = [ImageSource::File(dir.path().join("none.png")), ImageSource::File(broken)];
    let whole = asks(1).remove(0);
    let [none, broken] = [0, 1].map(|i| Ask { images: &images[i..=i], ..whole });
    let answers = answer(&server.endpoint(), &[none, broken, whole], &dir).unwrap();
    for (answer, name) in answers.iter().zip(["none.png", "broken.png"]) {
        let why = answer.as_ref().unwrap_err();
        assert_eq!(why.obstacle, Obstacle::Picture);
        assert!(why.cause.contains(name), "{why:?}");
    }
    assert_eq!(answers[2], Ok(echo("question 0")));
    assert_eq!(server.num_asked("question 0"), 1);
}

#[test]
fn a_wait_is_a_number_of_seconds_or_a_date() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    for (text, want) in [
        ("3", Some(3.0)),
        (" 3.5 ", Some(3.5)),
        ("0", Some(0.0)),
        ("Sun, 06 Nov 1994 08:49:41 GMT", Some(4.0)),
        // It is over.
        ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0.0)),
        ("-1", None),
        ("inf", None),
        ("soon", None),
    ] {
        assert_eq!(wait_until(text, now).map(|wait| wait.as_secs_f64()), want, "{text}");
    }
}

#[test]
fn a_key_hangs_on_all_that_an_answer_does_and_not_on_the_place() {
    let endpoint = Server::at("http://a/v1".to_owned()).endpoint();
    let ask = asks(1).remove(0);
    let key = key_of(&endpoint, &DRAWING, &ask);
    let elsewhere = Endpoint { url: "http://b/v1".to_owned(), concurrency: 1, ..endpoint.clone() };
    assert_eq!(key_of(&elsewhere, &DRAWING, &ask), key);
    let others = [
        key_of(&Endpoint { model: "other".to_owned(), ..endpoint.clone() }, &DRAWING, &ask),
        key_of(&Endpoint { revision: "2".to_owned(), ..endpoint.clone() }, &DRAWING, &ask),
        key_of(&endpoint, &Drawing { temperature: 0.7, ..DRAWING }, &ask),
        key_of(&endpoint, &Drawing { seed: 2, ..DRAWING }, &ask),
        key_of(&endpoint, &DRAWING, &Ask { sample: 1, ..ask }),
        key_of(&endpoint, &DRAWING, &Ask { text: "other", ..ask }),
        key_of(&endpoint, &DRAWING, &Ask { images: &[], ..ask }),
        key_of(&endpoint, &DRAWING, &Ask { purpose: Purpose::Levels, ..ask }),
    ];
    assert!(others.iter().all(|other| *other != key));
}

#[test]
fn an_end_in_the_last_allowed_place_is_an_end_if_the_server_says_so() {
    let finished = |reason| {
        let server = Server::start(move |_, _| Mood::Ends(reason));
        // Each answer counts three tokens.
        [3, 4].map(|max_new_tokens| {
            let dir = tempfile::tempdir().unwrap();
            let (drawing, cache) = (Drawing { max_new_tokens, ..DRAWING }, Cache::new(dir.path()));
            let asks = asks(1);
            let streak = Streak::new(false);
            let answers =
                server.endpoint().answer(&drawing, &asks, &cache, streak, |_| {}).unwrap();
            answers[0].as_ref().unwrap().finished
        })
    };
    assert_eq!(finished(Some("stop")), [true, true]);
    assert_eq!(finished(Some("length")), [false, false]);
    assert_eq!(finished(None), [false, true]);
    assert_eq!(finished(Some("whatever")), [false, true]);
}
