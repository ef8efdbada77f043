//! Answers: header off, bounds checked, body decoded.

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::Decodable;
use sluice_wire::bounds;

/// Decodes an answer that begins with its correlation id.
pub(super) fn answer<R: Decodable>(api_key: i16, version: i16, correlation_id: i32, frame: Bytes) -> Result<R, String> {
    let key = ApiKey::try_from(api_key).map_err(|()| format!("API key {api_key} is unknown here"))?;
    bounds::decode_answer_frame(key, version, correlation_id, frame).map_err(|error| error.to_string())
}
