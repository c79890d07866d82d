//! Slack's API as a stand-in on loopback: what is sent, and what each answer leads to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use untoil_clock::{Clock as _, VirtualClock};
use untoil_journal::{Batch, Journal as _, MemoryJournal};
use untoil_model::Seq;
use untoil_notifier::{
    Chat, ChatError, Key, Language, Message, Notifier, NotifierConfig, PartOf, Posted, Slack,
    SlackConfig, Text,
};

use crate::life::{Life, start};
use crate::threads::voice;

/// What the stand-in does with the nth `chat.*` call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Ok,
    Throttled,
    Html,
    /// Taken; the answer never comes.
    Hang,
    Error(&'static str),
}

/// A simulated Slack.
#[derive(Debug, Default)]
struct StandIn {
    messages: Vec<Value>,
    updates: Vec<Value>,
    asked: Vec<(String, BTreeMap<String, String>)>,
    tokens: Vec<String>,
    calls: usize,
    answers: BTreeMap<usize, Answer>,
}

type Shared = Arc<(Mutex<StandIn>, Notify)>;

async fn write(
    State(shared): State<Shared>,
    Path(method): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let (answer, ts) = {
        let mut slack = shared.0.lock().unwrap();
        slack.tokens.push(headers["authorization"].to_str().unwrap().to_owned());
        let n = slack.calls;
        slack.calls += 1;
        let answer = slack.answers.get(&n).copied().unwrap_or(Answer::Ok);
        let ts = format!("1700000000.{:06}", n + 1);
        if matches!(answer, Answer::Ok | Answer::Hang) {
            let mut message = body.clone();
            message["ts"] = json!(ts);
            if method == "chat.update" {
                slack.updates.push(body);
            } else {
                slack.messages.push(message);
            }
        }
        (answer, ts)
    };
    match answer {
        Answer::Ok => Json(json!({ "ok": true, "channel": "C024BE91L", "ts": ts })).into_response(),
        Answer::Throttled => {
            (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "30")], "").into_response()
        }
        Answer::Html => (StatusCode::BAD_GATEWAY, "<html>bad gateway</html>").into_response(),
        Answer::Hang => {
            shared.1.notified().await;
            StatusCode::GONE.into_response()
        }
        Answer::Error(code) => Json(json!({ "ok": false, "error": code })).into_response(),
    }
}

/// Two messages a page, so that looking has to turn pages.
fn read(shared: &Shared, method: &str, form: &str) -> Json<Value> {
    let form = format!("/?{form}").parse().unwrap();
    let Query(query): Query<BTreeMap<String, String>> = Query::try_from_uri(&form).unwrap();
    let mut slack = shared.0.lock().unwrap();
    let thread = query.get("ts").map(|ts| json!(ts));
    let mine: Vec<Value> = slack
        .messages
        .iter()
        .filter(|message| message.get("thread_ts") == thread.as_ref())
        .cloned()
        .collect();
    let from: usize = query.get("cursor").map_or(0, |cursor| cursor.parse().unwrap());
    let page: Vec<_> = mine.iter().skip(from).take(2).cloned().collect();
    let next = if from + 2 < mine.len() { (from + 2).to_string() } else { String::new() };
    slack.asked.push((method.to_owned(), query));
    Json(json!({ "ok": true, "messages": page, "response_metadata": { "next_cursor": next } }))
}

async fn history(State(shared): State<Shared>, form: String) -> Json<Value> {
    read(&shared, "conversations.history", &form)
}

async fn replies(State(shared): State<Shared>, form: String) -> Json<Value> {
    read(&shared, "conversations.replies", &form)
}

struct World {
    shared: Shared,
    slack: Slack,
    _server: JoinSet<()>,
}

async fn world(answers: &[(usize, Answer)]) -> World {
    let shared: Shared = Arc::default();
    shared.0.lock().unwrap().answers = answers.iter().copied().collect();
    let app = axum::Router::new()
        .route("/api/conversations.history", post(history))
        .route("/api/conversations.replies", post(replies))
        .route("/api/{method}", post(write))
        .with_state(shared.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/api", listener.local_addr().unwrap());
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, app).await.unwrap() });
    let config = SlackConfig {
        base,
        timeout: Duration::from_millis(400),
        ..SlackConfig::new("xoxb-stand-in".into())
    };
    World { shared, slack: Slack::new(config).unwrap(), _server: server }
}

fn message(seq: u64) -> Message {
    let key = Key { incident: None, part: PartOf::Notice, seq: Seq(seq), upto: Seq(seq + 1) };
    let words = Text::new().bold("제목").words(" a < b & c");
    Message { key, subject: String::new(), headline: words, body: vec![], small: Text::new() }
}

#[tokio::test]
async fn a_post_carries_everything_slack_needs_and_nothing_it_may_interpret() {
    let world = world(&[]).await;
    let posted = world.slack.post("#ops", None, &message(7)).await.unwrap();
    assert_eq!(posted, Posted { channel: "C024BE91L".into(), ts: "1700000000.000001".into() });
    world.slack.post("#ops", Some(&posted), &message(8)).await.unwrap();
    world.slack.update(&posted, &message(9)).await.unwrap();
    let slack = world.shared.0.lock().unwrap();
    assert_eq!(
        slack.messages[0],
        json!({
            "channel": "#ops",
            "text": "제목 a &lt; b &amp; c",
            "blocks": [{ "type": "section", "text": { "type": "mrkdwn", "text": "*제목* a &lt; b &amp; c", "verbatim": true } }],
            "metadata": { "event_type": "untoil_entry", "event_payload": { "incident": "", "part": "notice", "seq": 7, "upto": 8 } },
            "parse": "none",
            "link_names": false,
            "unfurl_links": false,
            "unfurl_media": false,
            "ts": "1700000000.000001",
        })
    );
    let reply = &slack.messages[1];
    assert_eq!(
        (&reply["thread_ts"], &reply["channel"]),
        (&json!("1700000000.000001"), &json!("C024BE91L"))
    );
    let edit = &slack.updates[0];
    assert_eq!((&edit["ts"], &edit["channel"]), (&json!("1700000000.000001"), &json!("C024BE91L")));
    assert!(slack.tokens.iter().all(|token| token == "Bearer xoxb-stand-in"));
}

#[tokio::test]
async fn a_message_is_found_again_by_its_metadata_on_a_later_page() {
    let world = world(&[]).await;
    for seq in 1..=5 {
        world.slack.post("C1", None, &message(seq)).await.unwrap();
    }
    let since: Timestamp = "2026-11-22T05:00:00Z".parse().unwrap();
    let found = world.slack.find("C1", None, &message(5).key, since).await.unwrap().unwrap();
    assert_eq!((found.posted.ts.as_str(), found.key.upto), ("1700000000.000005", Seq(6)));
    assert_eq!(world.slack.find("C1", None, &message(9).key, since).await.unwrap(), None);
    let thread = found.posted;
    assert_eq!(world.slack.find("C1", Some(&thread), &message(5).key, since).await.unwrap(), None);
    let slack = world.shared.0.lock().unwrap();
    let (method, query) = &slack.asked[0];
    assert_eq!(method, "conversations.history");
    assert_eq!(
        (query["include_all_metadata"].as_str(), query["oldest"].as_str()),
        ("true", "1795323600")
    );
    assert_eq!(slack.asked.last().unwrap().0, "conversations.replies");
}

#[tokio::test]
async fn every_answer_says_what_it_means_for_trying_again() {
    let answers = [
        (0, Answer::Throttled),
        (1, Answer::Html),
        (2, Answer::Hang),
        (3, Answer::Error("not_in_channel")),
        (4, Answer::Error("msg_too_long")),
        (5, Answer::Error("ratelimited")),
    ];
    let world = world(&answers).await;
    let mut errors = Vec::new();
    for n in 0..answers.len() {
        errors.push(world.slack.post("C1", None, &message(n as u64)).await.unwrap_err());
    }
    let throttled = ChatError::Throttled { retry_after: Duration::from_secs(30) };
    assert_eq!(
        errors,
        [
            throttled.clone(),
            ChatError::Unknown("HTTP 502".into()),
            ChatError::Unknown("no answer in time".into()),
            ChatError::Setup("not_in_channel".into()),
            ChatError::Message("msg_too_long".into()),
            throttled,
        ]
    );
    let nobody =
        SlackConfig { base: "http://127.0.0.1:1/api".into(), ..SlackConfig::new("x".into()) };
    let error = Slack::new(nobody).unwrap().post("C1", None, &message(1)).await.unwrap_err();
    assert_eq!(error, ChatError::Unreachable("no connection".into()));
}

#[tokio::test]
async fn blocks_that_slack_refuses_are_sent_as_text() {
    let world = world(&[(0, Answer::Error("invalid_blocks"))]).await;
    world.slack.post("C1", None, &message(1)).await.unwrap();
    let slack = world.shared.0.lock().unwrap();
    assert_eq!((slack.messages.len(), &slack.messages[0]["blocks"]), (1, &json!([])));
}

#[tokio::test]
async fn a_whole_thread_gets_through_a_bad_day_once() {
    let answers = [
        (0, Answer::Hang),
        (1, Answer::Throttled),
        (2, Answer::Hang),
        (3, Answer::Html),
        (6, Answer::Hang),
        (7, Answer::Error("internal_error")),
    ];
    let world = world(&answers).await;
    let life = Life::healed("disk");
    let journal = Arc::new(MemoryJournal::new());
    journal.append(Batch::of(life.drafts.clone())).await.unwrap();
    // A thousand times as fast: Slack's 30 s are 30 ms here.
    let clock = Arc::new(VirtualClock::faster(start(), 1_000));
    let mut config = NotifierConfig::new("#ops", voice(Language::Ko));
    config.late_after = Duration::from_hours(24);
    let notifier = Notifier::new(journal.clone(), Arc::new(world.slack), clock.clone(), config);
    let mut health = notifier.health();
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(notifier.run(stop.clone()));
    let head = *journal.head().borrow();
    health.wait_for(|health| health.cursor == head).await.unwrap();
    stop.cancel();
    tasks.join_all().await;
    assert!(clock.now() > start());
    let slack = world.shared.0.lock().unwrap();
    let told: Vec<u64> = slack
        .messages
        .iter()
        .map(|m| m["metadata"]["event_payload"]["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(told, [1, 1, 3, 4, 5, 8, 9, 10, 11]);
    let threads: Vec<_> =
        slack.messages.iter().skip(1).map(|message| message["thread_ts"].clone()).collect();
    assert!(threads.iter().all(|thread| *thread == slack.messages[0]["ts"]));
}
