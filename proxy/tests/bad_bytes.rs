//! Bytes that no honest client or broker sends. Whatever they are: the process stays up, other connections notice
//! nothing, the end is counted under its reason, and nothing of them reaches a broker.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, FetchRequest, MetadataRequest, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use sluice_testkit::broker::Action;
use sluice_testkit::frame;
use sluice_testkit::sample::PLAIN;

use crate::harness::{Proxy, SOON, acknowledge, produce, produced};

/// A request header (version 1) with this key and version, and a body.
fn raw(key: i16, version: i16, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(key);
    bytes.put_i16(version);
    bytes.put_i32(77);
    bytes.put_i16(2);
    bytes.put_slice(b"me");
    bytes.put_slice(body);
    frame::framed(&bytes)
}

fn tls_hello() -> Vec<u8> {
    let mut hello = vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    hello.extend([0xab; 506]);
    hello
}

/// Every one of these closes the connection, under this reason.
fn closing() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let oversized_array = [0x7f, 0xff, 0xff, 0xff];
    let compact_huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
    let long_varint = [0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let follower = FetchRequest::default().with_replica_id(BrokerId(2));
    vec![
        ("length -1", vec![0xff; 4], "bad_length"),
        ("length i32::MIN", vec![0x80, 0, 0, 0], "bad_length"),
        ("length over the limit", (100 * 1024 * 1024 + 1_i32).to_be_bytes().to_vec(), "bad_length"),
        ("length 0", vec![0; 4], "bad_length"),
        ("length below a header's", [&[0, 0, 0, 5][..], &[0; 5]].concat(), "bad_length"),
        ("a TLS hello", tls_hello(), "tls_on_plaintext"),
        ("an SSH banner", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), "bad_length"),
        ("a PROXY header", b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n".to_vec(), "bad_length"),
        ("an unknown key", raw(999, 0, &[]).to_vec(), "unknown_api"),
        ("a negative key", raw(-3, 0, &[]).to_vec(), "unknown_api"),
        ("LeaderAndIsr", raw(4, 4, &[0; 30]).to_vec(), "inter_broker"),
        ("WriteTxnMarkers", raw(27, 1, &[0; 30]).to_vec(), "inter_broker"),
        ("Vote", raw(52, 0, &[0; 30]).to_vec(), "inter_broker"),
        ("Fetch of a follower", frame::request(1, &follower, 11).to_vec(), "inter_broker"),
        ("Metadata of the far future", raw(3, 99, &[0; 8]).to_vec(), "unsupported_version"),
        ("Metadata of a negative version", raw(3, -1, &[0; 8]).to_vec(), "unsupported_version"),
        ("an array of 2^31 topics", raw(3, 4, &oversized_array).to_vec(), "malformed"),
        ("an array of -2 topics", raw(3, 4, &[0xff, 0xff, 0xff, 0xfe]).to_vec(), "malformed"),
        ("a compact array of 2^32 topics", raw(3, 9, &[&[0][..], &compact_huge].concat()).to_vec(), "malformed"),
        ("a varint of six bytes", raw(3, 9, &[&[0][..], &long_varint].concat()).to_vec(), "malformed"),
        ("a string past the end", raw(3, 4, &[0, 0, 0, 1, 0x7f, 0xff, b'x']).to_vec(), "malformed"),
        ("bad UTF-8", raw(3, 4, &[0, 0, 0, 1, 0, 2, 0xc3, 0x28, 0]).to_vec(), "malformed"),
        ("a client id past the end", frame::framed(&[0, 3, 0, 4, 0, 0, 0, 1, 0x7f, 0xff, 0, 0]).to_vec(), "malformed"),
        (
            "a Produce with 2^31 topics",
            raw(0, 7, &[&[0xff, 0xff, 0, 1, 0, 0, 0x75, 0x30][..], &oversized_array].concat()).to_vec(),
            "malformed",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_closes_its_connection_and_nothing_else() {
    let proxy = Proxy::start(acknowledge).await;
    let mut honest = proxy.client().await;
    for (what, bytes, reason) in closing() {
        let line = format!("sluice_proxy_connections_closed_total{{reason=\"{reason}\"}}");
        let before = proxy.metric(&line).await;
        let mut client = proxy.client().await;
        client.send(&bytes).await.unwrap();
        assert!(client.is_closed_within(Duration::from_secs(2)).await, "{what} does not close");
        let began = Instant::now();
        while proxy.metric(&line).await < before + 0.5 {
            let (_, all) = proxy.get("/metrics").await;
            let closed: Vec<_> = all.lines().filter(|line| line.contains("closed_total")).collect();
            assert!(began.elapsed() < Duration::from_secs(2), "{what} is not counted as {reason}: {closed:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        honest.call(&produce(PLAIN, 1, Bytes::from_static(b"x")), 9).await.unwrap();
    }
    assert!(proxy.metric("sluice_proxy_panics_total").await < 0.5);
    // What the honest client sent, and nothing more.
    let strangers = proxy.broker().seen().into_iter().filter(|seen| ![0, 3, 18].contains(&seen.key)).count();
    assert_eq!(strangers, 0);
    assert_eq!(produced(proxy.broker()).len(), closing().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_request_is_no_kafka() {
    let proxy = Proxy::start(acknowledge).await;
    let mut client = proxy.client().await;
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(client.is_closed_within(Duration::from_secs(2)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let proxy = Proxy::start(acknowledge).await;
    let mut client = proxy.client().await;
    client.send(&raw(18, 77, &[0])).await.unwrap();
    let (correlation, answer) = client.read_response::<ApiVersionsRequest>(0, SOON).await.unwrap();
    assert_eq!((correlation, answer.error_code), (77, 35));
    assert!(answer.api_keys.iter().any(|api| api.api_key == 18));
    client.call(&ApiVersionsRequest::default(), 3).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dribbled_is_closed_and_what_is_steady_is_not() {
    let proxy = Proxy::start_with(acknowledge, |settings| {
        settings.limits.progress_millis = 500;
        settings.limits.progress_bytes = 500;
    })
    .await;
    let mut slow = proxy.client().await;
    let large = frame::request(1, &produce(PLAIN, 1, Bytes::from(vec![1; 1_000_000])), 9);
    let mut drops = large.iter();
    let mut steady = proxy.client().await;
    let request = frame::request(1, &produce(PLAIN, 1, Bytes::from(vec![1; 4_000])), 9);
    let began = Instant::now();
    let mut pieces = request.chunks(200);
    let mut ended = None;
    while began.elapsed() < Duration::from_secs(3) && (ended.is_none() || pieces.len() > 0) {
        if let Some(piece) = pieces.next() {
            steady.send(piece).await.unwrap();
        }
        if slow.send(&[*drops.next().unwrap()]).await.is_err() || slow.is_closed_within(Duration::from_millis(50)).await
        {
            ended.get_or_insert(began.elapsed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let ended = ended.expect("the dribbled request is closed");
    assert!(ended >= Duration::from_millis(450), "{ended:?}");
    assert!(began.elapsed() > Duration::from_millis(700), "the steady one took longer than a window");
    steady.read_response::<ProduceRequest>(9, SOON).await.unwrap();
    proxy.until_metric("sluice_proxy_connections_closed_total{reason=\"slow_request\"}", |n| n > 0.5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_waits_for_a_slow_broker_is_not_slow_itself() {
    let proxy = Proxy::start_with(
        |seen| acknowledge(seen).after(Duration::from_millis(800)),
        |settings| settings.limits.progress_millis = 200,
    )
    .await;
    let mut client = proxy.client().await;
    client.call(&produce(PLAIN, 1, Bytes::from_static(b"x")), 9).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn correlation_ids_are_echoed_whatever_they_are() {
    let proxy = Proxy::start(acknowledge).await;
    let mut client = proxy.client().await;
    for correlation in [5, 5, -1, i32::MIN, i32::MAX, 0] {
        client.send(&frame::request(correlation, &MetadataRequest::default(), 9)).await.unwrap();
        client.send(&frame::request(correlation, &produce(PLAIN, 1, Bytes::from_static(b"x")), 9)).await.unwrap();
        for _ in 0..2 {
            assert_eq!(client.read_frame(SOON).await.unwrap().unwrap()[..4], correlation.to_be_bytes());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn byte_by_byte_is_as_good_as_any_other_way() {
    let proxy = Proxy::start(acknowledge).await;
    let mut client = proxy.client().await;
    let requests = [
        frame::request(1, &ApiVersionsRequest::default(), 3),
        frame::request(2, &produce(PLAIN, 1, Bytes::from_static(b"drop by drop")), 9),
        frame::request(3, &MetadataRequest::default(), 9),
    ];
    for byte in requests.concat() {
        client.send(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    for correlation in 1..=3_i32 {
        assert_eq!(client.read_frame(SOON).await.unwrap().unwrap()[..4], correlation.to_be_bytes());
    }
}

/// What a broker (or what listens in its place) may send instead of an answer.
fn nonsense() -> Vec<(&'static str, Action)> {
    let answer = |correlation: i32| {
        let mut bytes = BytesMut::new();
        bytes.put_i32(correlation);
        bytes.put_slice(&[0; 40]);
        frame::framed(&bytes)
    };
    vec![
        ("a negative length", Action::Send(Bytes::from_static(&[0xff; 8]))),
        ("a huge length", Action::Send(Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1]))),
        ("another correlation id", Action::Send(answer(4242))),
        ("no Kafka", Action::Send(Bytes::from_static(b"HTTP/1.1 400 Bad Request\r\n\r\n"))),
        ("half an answer", Action::SendAndClose(answer(1).slice(..20))),
        ("an end", Action::Close),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_of_a_broker_costs_its_own_connections_only() {
    for (what, action) in nonsense() {
        let proxy = Proxy::start(move |seen| {
            let request = seen.decode::<ProduceRequest>();
            if request.timeout_ms == 1 { action.clone() } else { acknowledge(seen) }
        })
        .await;
        let mut other = proxy.client().await;
        other.call(&produce(PLAIN, 1, Bytes::from_static(b"x")), 9).await.unwrap();
        let mut client = proxy.client().await;
        let poison = produce(PLAIN, 1, Bytes::from_static(b"x")).with_timeout_ms(1);
        client.send(&frame::request(1, &poison, 9)).await.unwrap();
        assert!(client.is_closed_within(Duration::from_secs(3)).await, "{what}");
        other.call(&produce(PLAIN, 1, Bytes::from_static(b"x")), 9).await.unwrap();
        assert!(proxy.metric("sluice_proxy_panics_total").await < 0.5, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_asked_for_is_an_end() {
    let proxy = Proxy::start(|seen| {
        let Action::Answer(body) = acknowledge(seen) else { return Action::Close };
        let mut once = BytesMut::new();
        once.put_i32(seen.correlation);
        once.put_u8(0);
        once.put(body);
        let once = frame::framed(&once);
        Action::Send([once.clone(), once].concat().into())
    })
    .await;
    let mut client = proxy.client().await;
    client.send_request(&produce(PLAIN, 1, Bytes::from_static(b"x")), 9).await.unwrap();
    client.read_response::<ProduceRequest>(9, SOON).await.unwrap();
    assert!(client.is_closed_within(Duration::from_secs(2)).await);
    proxy.until_metric("sluice_proxy_connections_closed_total{reason=\"bad_answer\"}", |n| n > 0.5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_with_impossible_numbers_is_somebody_elses_error() {
    // An answer of the broker is passed on; that a client asks for nonsense must not upset anything here.
    let proxy =
        Proxy::start(|seen| seen.answer::<FetchRequest>(&kafka_protocol::messages::FetchResponse::default())).await;
    let mut client = proxy.client().await;
    let partition =
        FetchPartition::default().with_partition(i32::MAX).with_fetch_offset(i64::MIN).with_partition_max_bytes(-1);
    let topic =
        FetchTopic::default().with_topic(TopicName(StrBytes::from_static_str(PLAIN))).with_partitions(vec![partition]);
    let request = FetchRequest::default().with_max_wait_ms(i32::MIN).with_max_bytes(i32::MAX).with_topics(vec![topic]);
    client.send_request(&request, 11).await.unwrap();
    // Answered or closed, but not stuck.
    let _ = client.read_frame(SOON).await;
    let mut next = proxy.client().await;
    next.call(&MetadataRequest::default(), 9).await.unwrap();
}
