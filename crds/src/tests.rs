use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use super::*;

#[test]
fn the_committed_definitions_are_those_of_the_types() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("generated");
    let committed: BTreeSet<String> =
        directory.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let definitions = definitions().unwrap();
    assert_eq!(committed, definitions.iter().map(|(file, _)| file.clone()).collect());
    for (file, text) in definitions {
        let committed = std::fs::read_to_string(directory.join(&file)).unwrap();
        assert!(
            committed == text,
            "{file} is stale: run `cargo run -p sluice-crds --bin crdgen` and commit the result"
        );
    }
}

/// Calls `look` with every schema inside a schema and its path.
fn walk(schema: &Value, path: &str, look: &mut impl FnMut(&Value, &str)) {
    look(schema, path);
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        walk(inner, &format!("{path}.{name}"), look);
    }
    if schema.get("items").is_some() {
        walk(&schema["items"], &format!("{path}[]"), look);
    }
}

fn schemas() -> [Value; 3] {
    [check::schema::<KafkaCluster>(), check::schema::<TopicRoute>(), check::schema::<TopicFuse>()]
}

#[test]
fn schemas_state_no_default_and_every_field_is_documented() {
    for schema in schemas() {
        let mut fields = 0;
        walk(&schema, "", &mut |inner, path| {
            fields += 1;
            assert!(inner.get("default").is_none(), "{path} has a default in the schema");
            let is_item = path.ends_with("[]");
            let described = inner["description"].as_str().is_some_and(|text| !text.is_empty());
            assert!(is_item || described, "{path} is not documented");
            let leaf = inner.get("properties").is_none();
            if path.starts_with(".spec.") && leaf && !is_item {
                let text = inner["description"].as_str().unwrap();
                assert!(text.contains("efault"), "{path} does not say its default");
                assert!(text.contains("Example"), "{path} has no example");
            }
        });
        assert!(fields > 15);
    }
}

#[test]
fn every_rule_has_a_sentence_and_names_a_field_that_exists() {
    let mut rules = 0;
    for schema in schemas() {
        walk(&schema, "", &mut |inner, path| {
            for rule in inner["x-kubernetes-validations"].as_array().into_iter().flatten() {
                rules += 1;
                assert!(rule["message"].as_str().is_some_and(|text| text.len() > 20), "{path}: {rule}");
                let field = rule["fieldPath"].as_str().unwrap();
                let pointer = field.replace('.', "/properties/");
                assert!(inner.pointer(&pointer).is_some(), "{path}: {field} does not exist");
            }
        });
    }
    assert_eq!(rules, 14);
}

#[test]
fn every_string_and_list_that_a_person_writes_is_bounded() {
    for schema in schemas() {
        walk(&schema["properties"]["spec"], ".spec", &mut |inner, path| match inner["type"].as_str() {
            // A closed list of words is its own bound.
            Some("string") if inner.get("enum").is_some() => {}
            Some("string") => assert!(inner.get("maxLength").is_some(), "{path} has no maxLength"),
            Some("array") => assert!(inner.get("maxItems").is_some(), "{path} has no maxItems"),
            _ => {}
        });
    }
}

#[test]
fn schemas_use_only_keywords_that_the_local_check_knows() {
    let known = [
        "type",
        "description",
        "title",
        "properties",
        "required",
        "items",
        "nullable",
        "enum",
        "format",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "x-kubernetes-validations",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
    ];
    for schema in schemas() {
        walk(&schema, "", &mut |inner, path| {
            for keyword in inner.as_object().unwrap().keys() {
                assert!(known.contains(&keyword.as_str()), "{path}: {keyword} is not checked locally");
            }
        });
    }
}
