//! The client against a server on loopback that misbehaves as it is told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::LazyLock;

use super::*;
use synergy_benchmarks::families::{Family, Split};
use synergy_benchmarks::sample::Sample;

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
}

/// Answers `echo <question>` for every request, after the moods of that question have been lived out.
struct Server {
    url: String,
    /// Requests by question, whatever came of them.
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Server {
    fn start(moods: impl Fn(&str, usize) -> Mood + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(BTreeMap::new()));
        let server = Server { url, asked: Arc::clone(&asked) };
        let moods = Arc::new(moods);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (asked, moods) = (Arc::clone(&asked), Arc::clone(&moods));
                std::thread::spawn(move || serve(stream.unwrap(), &asked, &*moods));
            }
        });
        server
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

fn serve(
    mut stream: TcpStream,
    asked: &Mutex<BTreeMap<String, usize>>,
    moods: &(impl Fn(&str, usize) -> Mood + ?Sized),
) {
    let Some(body) = request(&mut stream) else { return };
    let content = &body["messages"][0]["content"];
    let question = content.as_array().unwrap().last().unwrap()["text"].as_str().unwrap().to_owned();
    let nth = {
        let mut asked = asked.lock().unwrap();
        let count = asked.entry(question.clone()).or_default();
        *count += 1;
        *count - 1
    };
    let whole = json!({
        "choices": [{"message": {"content": format!("echo {question}")}, "finish_reason": "stop"}],
        "usage": {"completion_tokens": 3},
    })
    .to_string();
    let event = |value: Value| format!("data: {value}\n\n");
    let delta = |text: &str| event(json!({"choices": [{"index": 0, "delta": {"content": text}}]}));
    let stream_text = delta("echo ")
        + &delta(&question)
        + &event(json!({
            "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
            "usage": {"completion_tokens": 3},
        }));
    let mut say = |head: &str, length: usize, body: &str| {
        let text = format!(
            "HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        // A client that has given up is no fault of ours.
        let _ = stream.write_all(text.as_bytes());
    };
    match moods(&question, nth) {
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
    }
}

/// The body of one request.
fn request(stream: &mut TcpStream) -> Option<Value> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim().to_lowercase();
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
    serde_json::from_slice(&body).ok()
}

/// Texts of questions and a picture for all of them.
static TEXTS: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..20).map(|i| format!("question {i}")).collect());
static IMAGES: LazyLock<Vec<ImageSource>> =
    LazyLock::new(|| Sample::procedural(Family::Sum, 1, Split::Test, 0, 1..=1).images);

/// Two samples of each question.
fn asks(count: usize) -> Vec<Ask<'static>> {
    let ask = |i: usize| Ask {
        text: &TEXTS[i / 2],
        images: &IMAGES,
        sample: (i % 2) as u32,
        purpose: Purpose::Measure,
    };
    (0..count).map(ask).collect()
}

fn key_of(endpoint: &Endpoint, drawing: &Drawing, ask: &Ask<'_>) -> Key {
    let pictures: Vec<Picture> = ask.images.iter().map(|image| picture(image).unwrap()).collect();
    key(&endpoint.model, &endpoint.revision, drawing, ask, &pictures)
}

const DRAWING: Drawing =
    Drawing { temperature: 0.6, top_p: 0.95, top_k: 20, max_new_tokens: 64, seed: 1 };

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
    let replies = server.endpoint().answer(&DRAWING, &asks, &cache, heard).unwrap();
    assert_eq!(told.into_inner(), asks.len());
    for (ask, reply) in asks.iter().zip(&replies) {
        let want =
            Reply { text: format!("echo {}", ask.text), num_tokens: Some(3), finished: true };
        assert_eq!(*reply, want);
        // Two that failed and two that were answered.
        assert_eq!(server.num_asked(ask.text), 4, "{}", ask.text);
    }
    // All are kept: nothing is asked again.
    assert_eq!(server.endpoint().answer(&DRAWING, &asks, &cache, |_| {}).unwrap(), replies);
    assert_eq!(server.num_asked("question 0"), 4);
}

#[test]
fn an_answer_that_stays_out_is_told_and_the_others_are_kept() {
    let server =
        Server::start(
            |question, _| {
                if question == "question 1" { Mood::Status(502) } else { Mood::Answers }
            },
        );
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(dir.path());
    let error = server.endpoint().answer(&DRAWING, &asks(6), &cache, |_| {}).unwrap_err();
    let text = synergy_hint::text(&error);
    assert!(
        text.starts_with("4 of 6 answers arrived; 2 are missing after all attempts (5 each), the first with: status 502: busy\nhint: "),
        "{text}"
    );
    assert_eq!(server.num_asked("question 1"), 10);
    let endpoint = server.endpoint();
    let kept = asks(6)
        .iter()
        .filter(|ask| cache.get(&key_of(&endpoint, &DRAWING, ask)).unwrap().is_some())
        .count();
    assert_eq!(kept, 4);
}

#[test]
fn the_same_question_is_asked_once_however_often_it_stands_in_a_set() {
    let server = Server::start(|_, _| Mood::Answers);
    let dir = tempfile::tempdir().unwrap();
    let same: Vec<Ask<'_>> = (0..8).map(|_| asks(1).remove(0)).collect();
    let replies =
        server.endpoint().answer(&DRAWING, &same, &Cache::new(dir.path()), |_| {}).unwrap();
    assert!(replies.len() == 8 && replies.iter().all(|reply| *reply == replies[0]));
    assert_eq!(server.num_asked(same[0].text), 1);
}

#[test]
fn an_endpoint_that_is_gone_is_not_waited_for() {
    let server = Server::start(|_, _| Mood::HangsUp);
    let dir = tempfile::tempdir().unwrap();
    let endpoint = Endpoint { concurrency: 2, num_retries: 1, ..server.endpoint() };
    let error = endpoint.answer(&DRAWING, &asks(40), &Cache::new(dir.path()), |_| {}).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("0 of 40 answers arrived; 4 are missing")
            || text.starts_with("0 of 40 answers arrived; 5 are missing"),
        "{text}"
    );
}

#[test]
fn a_refusal_ends_the_run_at_once() {
    let server = Server::start(|_, _| Mood::Status(401));
    let dir = tempfile::tempdir().unwrap();
    let endpoint = Endpoint { concurrency: 1, ..server.endpoint() };
    let error = endpoint.answer(&DRAWING, &asks(6), &Cache::new(dir.path()), |_| {}).unwrap_err();
    let want = "the endpoint refuses the request with status 401: busy\nhint: ";
    assert!(synergy_hint::text(&error).starts_with(want), "{error}");
    assert_eq!(server.num_asked("question 0"), 1);
}

#[test]
fn nobody_at_the_address_is_an_error_after_all_attempts() {
    let dir = tempfile::tempdir().unwrap();
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server { url: format!("http://{unused}/v1"), asked: Arc::default() };
    let error =
        server.endpoint().answer(&DRAWING, &asks(1), &Cache::new(dir.path()), |_| {}).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("0 of 1 answers arrived; 1 are missing after all attempts (5 each)"),
        "{error}"
    );
    let nowhere = Endpoint { url: "no address".to_owned(), ..server.endpoint() };
    let error = nowhere.answer(&DRAWING, &asks(1), &Cache::new(dir.path()), |_| {}).unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[test]
fn a_key_hangs_on_all_that_an_answer_does_and_not_on_the_place() {
    let server = Server { url: "http://a/v1".to_owned(), asked: Arc::default() };
    let endpoint = server.endpoint();
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
fn a_thought_that_a_server_parts_comes_back_and_a_cut_is_told() {
    let text = r#"{"choices": [{"message": {"content": "\\boxed{3}", "reasoning_content": "a1"},
        "finish_reason": "length"}]}"#;
    let want =
        Reply { text: "<think>a1</think>\\boxed{3}".to_owned(), num_tokens: None, finished: false };
    assert_eq!(read_reply(text).unwrap(), want);
    for bad in [
        "",
        "[]",
        r#"{"choices": [{"message": {"content": null}, "finish_reason": "stop"}]}"#,
        r#"{"choices": [{"message": {"content": "a"}, "finish_reason": null}]}"#,
        "data: {\"choices\": [{\"delta\": {\"content\": \"a\"}}]}\n\ndata: [DONE]\n\n",
    ] {
        read_reply(bad).unwrap_err();
    }
}

#[test]
fn a_stream_is_put_together() {
    let text = concat!(
        "data: {\"choices\": [{\"delta\": {\"role\": \"assistant\", \"reasoning_content\": \"a\"}}]}\n\n",
        "data: {\"choices\": [{\"delta\": {\"content\": \"\\\\boxed\"}}]}\n\n",
        ": a comment\n\n",
        "data: {\"choices\": [{\"delta\": {\"content\": \"{3}\"}, \"finish_reason\": \"length\"}]}\n\n",
        "data: {\"choices\": [], \"usage\": {\"completion_tokens\": 9}}\n\ndata: [DONE]\n\n",
    );
    let want = Reply {
        text: "<think>a</think>\\boxed{3}".to_owned(),
        num_tokens: Some(9),
        finished: false,
    };
    assert_eq!(read_reply(text).unwrap(), want);
}

#[test]
fn an_answer_as_long_as_the_limit_is_cut_whatever_the_server_says() {
    let server = Server::start(|_, _| Mood::Answers);
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(dir.path());
    let ask = |max_new_tokens| {
        let drawing = Drawing { max_new_tokens, ..DRAWING };
        server.endpoint().answer(&drawing, &asks(1), &cache, |_| {}).unwrap().remove(0)
    };
    assert!(!ask(3).finished);
    assert!(ask(4).finished);
}

#[test]
fn pictures_are_sent_as_data_and_samples_have_seeds_of_their_own() {
    let server = Server { url: "http://a/v1".to_owned(), asked: Arc::default() };
    let endpoint = server.endpoint();
    let pictures = [Picture { media_type: "image/png", bytes: vec![1, 2, 3] }];
    let asks = asks(2);
    let [first, second] = [0, 1].map(|i| endpoint.body(&DRAWING, &asks[i], &pictures));
    let url = &first["messages"][0]["content"][0]["image_url"]["url"];
    assert_eq!(url, "data:image/png;base64,AQID");
    assert_eq!(first["top_k"], 20);
    assert_ne!(first["seed"], second["seed"]);
    let other = Ask { purpose: Purpose::Levels, ..asks[0] };
    assert_ne!(first["seed"], endpoint.body(&DRAWING, &other, &pictures)["seed"]);
    let plain = endpoint.body(&Drawing { top_k: 0, ..DRAWING }, &asks[0], &pictures);
    assert!(plain.get("top_k").is_none());
}

#[test]
fn a_picture_stands_where_its_mark_is() {
    let server = Server { url: "http://a/v1".to_owned(), asked: Arc::default() };
    let pictures = [Picture { media_type: "image/png", bytes: vec![1] }];
    let ask = Ask { text: "Is <image> red?", ..asks(1).remove(0) };
    let body = server.endpoint().body(&DRAWING, &ask, &pictures);
    let content = body["messages"][0]["content"].as_array().unwrap();
    let kinds: Vec<&str> = content.iter().map(|part| part["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["text", "image_url", "text"]);
    assert_eq!(content[2]["text"], " red?");
}
