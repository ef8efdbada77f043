//! Bytes that no honest client sends, against a running proxy: it closes or answers as a broker does, and nobody else
//! notices.

#![allow(clippy::print_stderr, reason = "a test that takes minutes tells how far it is")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use sluice_e2e::stage::{Stage, StageSpec, logs_with};

const TOPIC: &str = "orders";
/// A connection that is to be closed is closed by then.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

/// What is expected of a connection that sent some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Closed,
    /// An answer with this correlation id; the connection lives.
    Answered(i32),
}

fn stage() -> Result<Stage> {
    let mut spec = StageSpec::new("e2e/bad-bytes", "127.0.26", 21_000)?;
    spec.clusters = 1;
    spec.env = vec![("SLUICE_REQUEST_PROGRESS_SECONDS".to_owned(), "3".to_owned())];
    let stage = spec.start(|line| eprintln!("{line}"))?;
    stage.create_topic(TOPIC, 1)?;
    Ok(stage)
}

/// A frame with request header v1 (v2 if `flexible`) and this body.
fn frame(key: i16, version: i16, correlation: i32, flexible: bool, body: &[u8]) -> Bytes {
    let mut request = BytesMut::new();
    request.put_i16(key);
    request.put_i16(version);
    request.put_i32(correlation);
    request.put_i16(3);
    request.put_slice(b"bad");
    if flexible {
        request.put_u8(0);
    }
    request.put_slice(body);
    framed(&request)
}

fn framed(request: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i32(i32::try_from(request.len()).unwrap_or(i32::MAX));
    frame.put_slice(request);
    frame.freeze()
}

fn prefix(length: i32, rest: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i32(length);
    bytes.put_slice(rest);
    bytes.freeze()
}

fn connect(address: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(CLOSED_WITHIN))?;
    Ok(stream)
}

/// A whole answer frame without its length; none if the connection was closed.
fn answer(stream: &mut TcpStream) -> Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => return Ok(None),
        Err(error) => return Err(error).context("neither an answer nor a close"),
    }
    let length = usize::try_from(i32::from_be_bytes(length)).context("an answer of negative length")?;
    ensure!(length < 10_000_000, "an answer of {length} bytes");
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Some(body))
}

fn correlation(answer: &[u8]) -> Result<i32> {
    Ok(i32::from_be_bytes(answer.get(..4).context("an answer without a correlation id")?.try_into()?))
}

/// Sends and checks one case.
fn send(address: &str, what: &str, bytes: &[u8], expect: Expect) -> Result<()> {
    let run = || -> Result<()> {
        let mut stream = connect(address)?;
        // The proxy may close before it has read all.
        let _ = stream.write_all(bytes);
        match (answer(&mut stream)?, expect) {
            (None, Expect::Closed) => Ok(()),
            (Some(answer), Expect::Answered(id)) => {
                ensure!(correlation(&answer)? == id, "answered with correlation id {}", correlation(&answer)?);
                stream.write_all(&api_versions(77))?;
                ensure!(self::answer(&mut stream)?.is_some(), "the connection was closed after the answer");
                Ok(())
            }
            (Some(answer), Expect::Closed) => bail!("it was answered: {:?}", &answer[..answer.len().min(40)]),
            (None, Expect::Answered(_)) => bail!("it was closed"),
        }
    };
    run().with_context(|| what.to_owned())
}

fn api_versions(correlation: i32) -> Bytes {
    frame(18, 0, correlation, false, &[])
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

fn concat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Bytes that are no request at all, or none that may be sent.
fn closing_cases() -> Vec<(&'static str, Bytes)> {
    let huge = i32::MAX.to_be_bytes();
    let bytes = Bytes::from_static;
    vec![
        ("length -1", prefix(-1, b"xxxx")),
        ("length i32::MIN", prefix(i32::MIN, b"")),
        ("length 2 GiB", prefix(i32::MAX, b"")),
        ("length just over the limit", prefix(100 * 1024 * 1024 + 1, b"")),
        ("length 0", prefix(0, b"")),
        ("length 3", prefix(3, b"abc")),
        ("a TLS hello", bytes(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")),
        ("an HTTP request", bytes(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")),
        ("an SSH banner", bytes(b"SSH-2.0-OpenSSH_9.2\r\n")),
        ("a PROXY header", bytes(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n")),
        ("random bytes", bytes(b"\x91\x02\xff\x17\x00\x00\x13\x37\xde\xad\xbe\xef")),
        ("an unknown key", frame(999, 0, 1, false, &[])),
        ("a negative key", frame(-1, 0, 1, false, &[])),
        ("LeaderAndIsr", frame(4, 1, 1, false, &[0; 40])),
        ("Vote", frame(52, 0, 1, true, &[0; 40])),
        ("WriteTxnMarkers", frame(27, 0, 1, false, &huge)),
        ("AlterConfigs, which is not offered", frame(33, 0, 1, false, &[0; 8])),
        ("Metadata in version 99", frame(3, 99, 1, true, &[])),
        ("Metadata in a negative version", frame(3, -5, 1, false, &[])),
        ("Produce in version 12", frame(0, 12, 1, true, &[0; 20])),
        ("Metadata v1 with 2^31-1 topics", frame(3, 1, 1, false, &huge)),
        ("Metadata v9 with 2^32-2 topics", frame(3, 9, 1, true, b"\xff\xff\xff\xff\x0f\x00\x00\x00\x00")),
        ("Metadata v9 with a six-byte varint", frame(3, 9, 1, true, b"\xff\xff\xff\xff\xff\x01\x00\x00\x00\x00")),
        ("a topic name past the end", frame(3, 1, 1, false, &concat(&[&1_i32.to_be_bytes(), b"\x7f\xffab"]))),
        ("a topic name of negative length", frame(3, 1, 1, false, &concat(&[&1_i32.to_be_bytes(), b"\xff\xf0ab"]))),
        ("a topic name that is no UTF-8", frame(3, 1, 1, false, &concat(&[&1_i32.to_be_bytes(), b"\x00\x02\xff\xfe"]))),
        ("a header that ends in the client id", framed(b"\x00\x12\x00\x00\x00\x00\x00\x01\x00\x09abc")),
        ("2^31-1 tagged fields", framed(b"\x00\x03\x00\x09\x00\x00\x00\x01\x00\x00\xff\xff\xff\xff\x07")),
        ("Fetch with a replica id", fetch(0, 0, -1, 1)),
        ("Fetch with 2^31-1 topics", frame(1, 4, 1, false, &concat(&[&fetch_head(-1), &huge]))),
        ("Produce with 2^31-1 topics", frame(0, 8, 1, false, &concat(&[b"\xff\xff\x00\x01\x00\x00\x10\x00", &huge]))),
        ("ListOffsets with 2^31-1 topics", frame(2, 1, 1, false, &concat(&[&(-1_i32).to_be_bytes(), &huge]))),
        ("JoinGroup with 2^31-1 protocols", frame(11, 0, 1, false, &join_group(&huge))),
    ]
}

fn join_group(count: &[u8]) -> Vec<u8> {
    concat(&[&text("g"), &10_000_i32.to_be_bytes(), &text(""), &text("consumer"), count])
}

/// Replica id, max wait 100, min bytes 1, max bytes 1 MiB, isolation 0.
fn fetch_head(replica: i32) -> Vec<u8> {
    concat(&[&replica.to_be_bytes(), &100_i32.to_be_bytes(), &1_i32.to_be_bytes(), &(1_i32 << 20).to_be_bytes(), &[0]])
}

/// Fetch v9 of partition 0 with a current leader epoch and an offset.
fn fetch(replica: i32, offset: i64, epoch: i32, correlation: i32) -> Bytes {
    let body = concat(&[
        &fetch_head(replica),
        // No session.
        &0_i32.to_be_bytes(),
        &(-1_i32).to_be_bytes(),
        &1_i32.to_be_bytes(),
        &text(TOPIC),
        &1_i32.to_be_bytes(),
        &0_i32.to_be_bytes(),
        &epoch.to_be_bytes(),
        &offset.to_be_bytes(),
        &(-1_i64).to_be_bytes(),
        &(1_i32 << 20).to_be_bytes(),
        // No forgotten topics.
        &0_i32.to_be_bytes(),
    ]);
    frame(1, 9, correlation, false, &body)
}

/// Produce v8 to partition 0.
fn produce(acks: i16, batch: &[u8], correlation: i32) -> Bytes {
    let body = concat(&[
        &(-1_i16).to_be_bytes(),
        &acks.to_be_bytes(),
        &5_000_i32.to_be_bytes(),
        &1_i32.to_be_bytes(),
        &text(TOPIC),
        &1_i32.to_be_bytes(),
        &0_i32.to_be_bytes(),
        &i32::try_from(batch.len()).unwrap_or(i32::MAX).to_be_bytes(),
        batch,
    ]);
    frame(0, 8, correlation, false, &body)
}

fn batch(value: &str) -> Result<Vec<u8>> {
    use sluice_net::batch::{NewRecord, ProducerStamp, encode};
    let record = NewRecord { key: None, value: Some(Bytes::copy_from_slice(value.as_bytes())) };
    Ok(encode(&[record], 1_700_000_000_000, ProducerStamp::NONE)?.to_vec())
}

#[test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
fn bad_bytes_harm_nobody() -> Result<()> {
    let mut stage = stage()?;
    let sluice = stage.mesh()?.bootstrap_of("node-1")?;
    let before = resident(&mut stage)?;
    // A good connection lives through all of it.
    let mut witness = connect(&sluice)?;
    let mut wrong = Vec::new();
    for round in 0..3 {
        for (what, bytes) in closing_cases() {
            wrong.extend(send(&sluice, what, &bytes, Expect::Closed).err().map(|error| format!("{error:#}")));
            // The same, byte by byte: the first bytes may be all that it takes.
            if round == 0 {
                wrong.extend(slowly(&sluice, &bytes).err().map(|error| format!("{what}, byte by byte: {error:#}")));
            }
        }
        witness.write_all(&api_versions(round))?;
        ensure!(answer(&mut witness)?.is_some(), "a good connection was closed");
    }
    answered_cases(&sluice, &mut wrong)?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    dribble(&sluice)?;
    let after = resident(&mut stage)?;
    ensure!(after < before + 64 * 1024, "the proxy grew from {before} to {after} KiB");
    stage.mesh()?.check_alive()?;
    let panics = logs_with(&stage.spec().folder.join("logs"), &["panicked at"]);
    ensure!(panics.is_empty(), "{panics:?}");
    Ok(())
}

fn slowly(address: &str, bytes: &[u8]) -> Result<()> {
    let mut stream = connect(address)?;
    for byte in bytes.iter().take(64) {
        if stream.write_all(&[*byte]).is_err() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    let _ = stream.write_all(bytes.get(64..).unwrap_or_default());
    ensure!(answer(&mut stream)?.is_none(), "it was answered");
    Ok(())
}

/// Odd, but with an answer.
fn answered_cases(address: &str, wrong: &mut Vec<String>) -> Result<()> {
    for (what, bytes, id) in [
        ("correlation id -7", api_versions(-7), -7),
        ("correlation id i32::MIN", api_versions(i32::MIN), i32::MIN),
        ("a client id of 32 KiB", long_client_id(), 5),
        ("ApiVersions in an unknown version", frame(18, 120, 9, false, &[]), 9),
    ] {
        wrong.extend(send(address, what, &bytes, Expect::Answered(id)).err().map(|error| format!("{error:#}")));
    }
    // The answer to that one is in the oldest version: error 35 and the keys.
    let mut stream = connect(address)?;
    stream.write_all(&frame(18, 120, 9, false, &[]))?;
    let body = answer(&mut stream)?.context("it was closed")?;
    ensure!(body.get(4..6) == Some(&35_i16.to_be_bytes()[..]), "ApiVersions in an unknown version: {body:?}");

    // Many at once, without reading: answers come in order, duplicates and all.
    let mut stream = connect(address)?;
    let ids: Vec<i32> = (0..500).map(|number| number / 2).collect();
    let all: Vec<u8> = ids.iter().flat_map(|id| api_versions(*id).to_vec()).collect();
    let mut writer = stream.try_clone()?;
    let sender = std::thread::spawn(move || writer.write_all(&all));
    for id in ids {
        let body = answer(&mut stream)?.context("closed amid many requests")?;
        ensure!(correlation(&body)? == id, "answers are out of order: {} instead of {id}", correlation(&body)?);
    }
    sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    Ok(())
}

fn long_client_id() -> Bytes {
    let name = "x".repeat(32 * 1024 - 1);
    framed(&concat(&[b"\x00\x12\x00\x00", &5_i32.to_be_bytes(), &text(&name)]))
}

/// A request that never gets on is not waited for.
fn dribble(address: &str) -> Result<()> {
    let mut stream = connect(address)?;
    stream.write_all(&prefix(1 << 20, &[0, 3, 0, 1]))?;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(300));
        if stream.write_all(&[0]).is_err() {
            return Ok(());
        }
    }
    bail!("a request of a few bytes a second was waited for for 20 s")
}

/// Resident memory of the first proxy, KiB.
fn resident(stage: &mut Stage) -> Result<u64> {
    let pid = stage.mesh()?.proxy("node-1")?.pid();
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find(|line| line.starts_with("VmRSS")).context("no VmRSS")?;
    line.split_whitespace().nth(1).context("no figure")?.parse().context("VmRSS")
}

#[test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
fn bad_batches_and_offsets_are_answered_as_brokers_do() -> Result<()> {
    let mut stage = stage()?;
    let broker = stage.clusters[0].bootstrap().split(',').next().context("a broker")?.to_owned();
    let leader = leader(&stage)?;
    let (broker, sluice) = match leader {
        1 => (broker, stage.mesh()?.bootstrap_of("node-1")?),
        _ => (
            stage.clusters[0].bootstrap().split(',').nth(1).context("a second broker")?.to_owned(),
            stage.mesh()?.bootstrap_of("node-2")?,
        ),
    };
    let good = batch("good")?;
    let change = |at: usize, with: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + with.len()].copy_from_slice(with);
        bad
    };
    // The same with a CRC that fits: the broker looks further then.
    let forge = |at: usize, with: &[u8]| {
        let mut bad = change(at, with);
        let crc = crc32c(&bad[21..]);
        bad[17..21].copy_from_slice(&crc.to_be_bytes());
        bad
    };
    let cases = [
        ("a good batch", produce(-1, &good, 1)),
        ("a wrong CRC", produce(-1, &change(17, &[0xff]), 1)),
        ("magic 3", produce(-1, &change(16, &[3]), 1)),
        ("a batch that says to be longer", produce(-1, &change(8, &9_999_i32.to_be_bytes()), 1)),
        ("a batch that says to be shorter", produce(-1, &change(8, &20_i32.to_be_bytes()), 1)),
        ("a record count of -1", produce(-1, &forge(57, &(-1_i32).to_be_bytes()), 1)),
        ("a record count of 2^31-1", produce(-1, &forge(57, &i32::MAX.to_be_bytes()), 1)),
        ("an unknown codec", produce(-1, &forge(22, &[7]), 1)),
        ("an empty batch", produce(-1, &[], 1)),
        ("half a batch", produce(-1, &good[..40], 1)),
        ("acks 2", produce(2, &good, 1)),
        ("a fetch past the end", fetch(-1, 1_000_000, -1, 1)),
        ("a fetch at -5", fetch(-1, -5, -1, 1)),
        ("a fetch with a newer epoch", fetch(-1, 0, 99, 1)),
    ];
    let known = [("a good batch", 0), ("a wrong CRC", 2), ("acks 2", 21), ("a fetch past the end", 1)];
    for (what, bytes) in cases {
        let theirs = code_of(&broker, &bytes)?;
        let ours = code_of(&sluice, &bytes)?;
        if let Some((_, code)) = known.iter().find(|(case, _)| *case == what) {
            ensure!(
                theirs == Some(*code),
                "{what}: the broker says {theirs:?}: is the request what it is meant to be?"
            );
        }
        ensure!(theirs == ours, "{what}: the broker says {theirs:?}, Sluice says {ours:?}");
    }
    // acks=0 and gone: the record is there all the same.
    let mut stream = connect(&sluice)?;
    stream.write_all(&produce(0, &batch("left behind")?, 1))?;
    stream.shutdown(Shutdown::Both)?;
    drop(stream);
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let mut stream = connect(&broker)?;
        stream.write_all(&fetch(-1, 0, -1, 1))?;
        let body = answer(&mut stream)?.context("closed")?;
        if body.windows(11).any(|bytes| bytes == b"left behind") {
            break;
        }
        ensure!(Instant::now() < end, "a record sent with acks=0 is lost");
        std::thread::sleep(Duration::from_millis(50));
    }
    stage.mesh()?.check_alive()
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    };
    !bytes.iter().fold(u32::MAX, step)
}

/// The broker id that leads the partition.
fn leader(stage: &Stage) -> Result<i32> {
    let bootstrap = stage.clusters[0].bootstrap().split(',').map(str::to_owned).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = sluice_net::Client::new(bootstrap, sluice_net::ClientOptions::default());
        Ok(client.leader(TOPIC, 0).await?.0)
    })
}

/// The partition's error code in an answer to [`produce`] or [`fetch`]; none if the connection was closed.
fn code_of(address: &str, request: &[u8]) -> Result<Option<i16>> {
    let mut stream = connect(address)?;
    stream.write_all(request)?;
    let Some(body) = answer(&mut stream)? else { return Ok(None) };
    let is_fetch = request.get(4..6) == Some(&1_i16.to_be_bytes()[..]);
    // Correlation id; for a fetch throttle time, error and session id too; then one topic with one partition.
    let topics = if is_fetch { 4 + 4 + 2 + 4 } else { 4 };
    let at = topics + 4 + 2 + TOPIC.len() + 4 + 4;
    let code = body.get(at..at + 2).with_context(|| format!("a short answer: {body:?}"))?;
    Ok(Some(i16::from_be_bytes(code.try_into()?)))
}
