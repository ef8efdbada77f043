//! The one thing that the tests want of etcd itself: a compaction, by its JSON gateway.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::ControlPlaneSpec;

pub(super) struct Etcd {
    address: String,
}

impl Etcd {
    pub(super) fn at(spec: &ControlPlaneSpec) -> Self {
        Self { address: format!("{}:{}", spec.host, spec.etcd_port) }
    }

    /// Forgets all that led to the newest revision, and returns that.
    pub(super) fn compact(&self) -> Result<i64> {
        // A key that does not exist; the answer's header has what we ask for. "AA==" is one zero byte.
        let answer = self.post("/v3/kv/range", &json!({ "key": "AA==" }))?;
        let newest = revision(&answer)?;
        self.post("/v3/kv/compaction", &json!({ "revision": newest.to_string(), "physical": true }))?;
        Ok(newest)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let Self { address } = self;
        let mut stream = TcpStream::connect(address).with_context(|| format!("connect to etcd at {address}"))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let body = body.to_string();
        // In HTTP/1.0 the answer ends with the connection, and is never sent in chunks.
        write!(stream, "POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).with_context(|| format!("POST {path} to etcd at {address}"))?;
        parse(&answer).with_context(|| format!("POST {path} to etcd at {address}"))
    }
}

fn parse(answer: &str) -> Result<Value> {
    let (head, body) = answer.split_once("\r\n\r\n").context("not an HTTP answer")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    ensure!(status == "200", "status {status}: {}", body.trim());
    serde_json::from_str(body).with_context(|| format!("not JSON: {body}"))
}

fn revision(answer: &Value) -> Result<i64> {
    // 64-bit numbers are strings in protobuf's JSON.
    let text = answer.pointer("/header/revision").and_then(Value::as_str).context("etcd's answer has no revision")?;
    text.parse().with_context(|| format!("etcd's revision {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let answer = parse("HTTP/1.0 200 OK\r\nDate: x\r\n\r\n{\"header\":{\"revision\":\"271\"}}").unwrap();
        assert_eq!(revision(&answer).unwrap(), 271);
        assert!(revision(&json!({ "header": {} })).is_err());
    }

    #[test]
    fn a_refusal_is_told() {
        let error = parse("HTTP/1.0 400 Bad Request\r\n\r\n{\"message\":\"required revision has been compacted\"}");
        assert!(error.unwrap_err().to_string().contains("has been compacted"));
    }
}
