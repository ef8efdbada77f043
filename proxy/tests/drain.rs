//! The end of a proxy: no new clients, what is under way is finished, the rest is told to go.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::{MetadataRequest, ProduceRequest};
use sluice_testkit::broker::Action;
use sluice_testkit::client::RawClient;
use sluice_testkit::frame;
use sluice_testkit::sample::PLAIN;

use crate::harness::{Proxy, SOON, acknowledge, produce, until_produced};

fn join(proxy: &mut Proxy) -> tokio::task::JoinHandle<bool> {
    let app = proxy.app.take().unwrap();
    tokio::task::spawn_blocking(move || app.join())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_finished_and_idle_clients_go() {
    let mut proxy = Proxy::start(|seen| acknowledge(seen).after(Duration::from_millis(300))).await;
    let mut idle = proxy.client().await;
    idle.call(&MetadataRequest::default(), 9).await.unwrap();
    let mut untold = proxy.client().await;
    let mut busy = proxy.client().await;
    // One request under way, and half of another: the half is finished, too.
    let whole = frame::request(2, &produce(PLAIN, 1, Bytes::from(vec![1; 1000])), 9);
    busy.send(&frame::request(1, &produce(PLAIN, 1, Bytes::from_static(b"x")), 9)).await.unwrap();
    busy.send(&whole[..700]).await.unwrap();
    until_produced(proxy.broker(), 1).await;
    proxy.app.as_ref().unwrap().drain();
    let began = Instant::now();
    assert!(idle.is_closed_within(SOON).await);
    assert!(untold.is_closed_within(SOON).await);
    assert!(began.elapsed() < Duration::from_millis(280), "not before the busy one");
    while RawClient::connect(proxy.port(1)).await.is_ok() {
        assert!(began.elapsed() < Duration::from_millis(280), "new clients are still let in");
    }
    assert_eq!(proxy.get("/ready").await.0, 503);
    busy.send(&whole[700..]).await.unwrap();
    for correlation in 1..=2 {
        let (found, _) = busy.read_response::<ProduceRequest>(9, SOON).await.unwrap();
        assert_eq!(found, correlation);
    }
    assert!(busy.is_closed_within(SOON).await);
    assert!(join(&mut proxy).await.unwrap());
    assert!(began.elapsed() < Duration::from_millis(2_800), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_pauses_is_closed_between_two_requests() {
    let mut proxy = Proxy::start(acknowledge).await;
    let mut client = proxy.client().await;
    let (mut from, mut to) = client.stream().split();
    let sending = async {
        for correlation in 0.. {
            let request = frame::request(correlation, &produce(PLAIN, 1, Bytes::from(vec![1; 5000])), 9);
            if tokio::io::AsyncWriteExt::write_all(&mut to, &request).await.is_err() {
                return;
            }
        }
    };
    let reading = async {
        use tokio::io::AsyncReadExt;
        for expected in 0.. {
            // An end inside a frame would be an error of the second read.
            let Ok(length) = from.read_i32().await else { return expected };
            let mut answer = vec![0; usize::try_from(length).unwrap()];
            from.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer[..4], i32::to_be_bytes(expected));
        }
        0
    };
    let draining = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        proxy.app.as_ref().unwrap().drain();
    };
    let all = async { tokio::join!(sending, reading, draining) };
    let ((), answered, ()) = tokio::time::timeout(SOON, all).await.unwrap();
    assert!(answered > 10, "{answered}");
    assert!(join(&mut proxy).await.unwrap());
    assert_eq!(
        usize::try_from(answered).unwrap(),
        crate::harness::produced(proxy.broker()).len(),
        "each request that went on was answered"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_never_answers_does_not_keep_the_proxy() {
    let mut proxy = Proxy::start(|_| Action::Silent).await;
    let mut client = proxy.client().await;
    client.send_request(&produce(PLAIN, 1, Bytes::from_static(b"x")), 9).await.unwrap();
    until_produced(proxy.broker(), 1).await;
    let began = Instant::now();
    proxy.app.as_ref().unwrap().drain();
    assert!(join(&mut proxy).await.unwrap());
    assert!(client.is_closed_within(SOON).await);
    // The drain time of the harness is 3 s.
    assert!((2_900..5_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
}
