//! The checks that an API server makes before it stores an object, made locally: structure and bounds by the generated
//! schema, then the CEL rules. Only what the schemas here use is implemented; a keyword that is not is reported, so that
//! it can't be forgotten.

use kube::core::crd::CustomResourceExt;
use serde_json::{Map, Value};

/// Deepest nesting of an object that is looked at.
const MAX_DEPTH: usize = 32;

/// A rule that an object breaks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Where, for example `spec.topic`.
    pub path: String,
    /// A sentence that says what to write instead.
    pub message: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// The schema of a kind, as it stands in the generated definition.
pub fn schema<K: CustomResourceExt>() -> Value {
    K::crd()
        .spec
        .versions
        .into_iter()
        .next()
        .and_then(|version| version.schema)
        .and_then(|validation| validation.open_api_v3_schema)
        .and_then(|schema| serde_json::to_value(schema).ok())
        .unwrap_or(Value::Null)
}

/// Checks an object against the definition of its kind; `old` is the object that it replaces, for rules on changes. An
/// empty list means that an API server would store it.
pub fn check<K: CustomResourceExt>(object: &Value, old: Option<&Value>) -> Vec<Violation> {
    let schema = schema::<K>();
    let mut violations = Vec::new();
    name(object, &mut violations);
    structure(&schema, object, "", MAX_DEPTH, &mut violations);
    // CEL rules may rely on the structure: an API server does not run them on a broken one either.
    if violations.is_empty()
        && let Err(errors) = kube::core::cel::Validator::new().validate(&schema, object, old)
    {
        for error in errors.into_vec() {
            violations
                .push(Violation { path: error.field_path.trim_start_matches('.').to_owned(), message: error.message });
        }
    }
    violations
}

/// `metadata.name` must be a DNS subdomain: an API server checks that for every custom resource.
fn name(object: &Value, violations: &mut Vec<Violation>) {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.is_empty() || name.len() > 253 || !name.split('.').all(label_ok) {
        violations.push(Violation {
            path: "metadata.name".to_owned(),
            message: "every object needs a name of lower-case letters, digits, '-' and '.', at most 253 characters"
                .to_owned(),
        });
    }
}

fn structure(schema: &Value, value: &Value, path: &str, depth: usize, violations: &mut Vec<Violation>) {
    let mut say = |message: String| violations.push(Violation { path: path.to_owned(), message });
    if depth == 0 {
        return say("the object is nested too deeply".to_owned());
    }
    if value.is_null() && schema["nullable"] == Value::Bool(true) {
        return;
    }
    match (schema["type"].as_str().unwrap_or_default(), value) {
        ("object", Value::Object(fields)) => object(schema, fields, path, depth, violations),
        ("array", Value::Array(items)) => {
            if let Some(sentence) = out_of_bounds(schema, "minItems", "maxItems", items.len(), "entries") {
                say(sentence);
            }
            for (index, item) in items.iter().enumerate() {
                structure(&schema["items"], item, &format!("{path}[{index}]"), depth - 1, violations);
            }
        }
        ("string", Value::String(text)) => {
            if let Some(sentence) = out_of_bounds(schema, "minLength", "maxLength", text.chars().count(), "characters")
            {
                say(sentence);
            }
            if let Some(allowed) = schema["enum"].as_array()
                && !allowed.contains(value)
            {
                let allowed: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
                say(format!("must be one of {}", allowed.join(", ")));
            }
        }
        ("boolean", Value::Bool(_)) => {}
        ("integer", Value::Number(number)) if number.is_i64() => {}
        (wanted, _) => say(format!("must be of type {wanted}, not {}", type_of(value))),
    }
}

fn object(schema: &Value, fields: &Map<String, Value>, path: &str, depth: usize, violations: &mut Vec<Violation>) {
    let join = |field: &str| if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(required) {
            violations.push(Violation { path: join(required), message: "is required".to_owned() });
        }
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    for (field, value) in fields {
        let path = join(field);
        // What stands beside spec and status belongs to every object; its schema is the API server's own.
        if depth == MAX_DEPTH && matches!(field.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        if let Some(schema) = properties.get(field) {
            structure(schema, value, &path, depth - 1, violations);
        } else {
            let mut known: Vec<&str> = properties.keys().map(String::as_str).collect();
            known.sort_unstable();
            let message = format!("is not a field of this kind; known here: {}", known.join(", "));
            violations.push(Violation { path, message });
        }
    }
}

fn out_of_bounds(schema: &Value, min: &str, max: &str, found: usize, unit: &str) -> Option<String> {
    let bound = |key: &str| schema[key].as_u64().and_then(|bound| usize::try_from(bound).ok());
    let (min, max) = (bound(min).unwrap_or(0), bound(max).unwrap_or(usize::MAX));
    (found < min || found > max).then(|| {
        if max == usize::MAX {
            format!("must have at least {min} {unit}, not {found}")
        } else {
            format!("must have {min} to {max} {unit}, not {found}")
        }
    })
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests;
