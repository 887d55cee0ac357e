//! `config/README.md` and the JSON Schema know every key. `UPDATE=1` writes the tables of the README.

use std::collections::BTreeSet;

use serde_json::Value;
use tollgate::config;

const README: &str = "config/README.md";
const BEGIN: &str = "<!-- keys: written by UPDATE=1 cargo test --test config -->\n";
const END: &str = "<!-- end of keys -->";

#[test]
fn readme_documents_every_key_default_and_unit() {
    let text = std::fs::read_to_string(README).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the README has a begin mark");
    let (tables, after) = rest.split_once(END).expect("the README has an end mark");
    let wanted = config::reference::markdown();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(README, format!("{before}{BEGIN}{wanted}{END}{after}")).unwrap();
        return;
    }
    for line in wanted.lines() {
        assert!(tables.contains(line), "config/README.md lacks: {line}");
    }
    assert_eq!(tables, wanted);
}

#[test]
fn readme_explains_every_code() {
    let text = std::fs::read_to_string(README).unwrap();
    for code in config::codes::ALL {
        let line = format!("| {} | {} |", code.code, code.about);
        assert!(text.contains(&line), "config/README.md lacks: {line}");
    }
}

#[test]
fn every_key_has_a_description() {
    for key in config::reference() {
        assert!(key.doc.len() > 5, "{}.{} has none", key.table, key.key);
    }
}

#[test]
fn schema_has_the_same_keys_as_the_reference() {
    let schema = config::schema();
    let mut in_schema = BTreeSet::new();
    keys(&schema, &mut in_schema);
    for key in config::reference() {
        assert!(in_schema.contains(key.key), "the schema lacks {}.{}", key.table, key.key);
    }
    for noun in ["include", "server", "log", "limit", "upstream", "site", "alert", "notify"] {
        assert!(schema["properties"].get(noun).is_some(), "{noun}");
    }
}

#[test]
fn schema_refuses_unknown_keys_and_resolves_its_references() {
    let schema = config::schema();
    assert_eq!(schema["additionalProperties"], false);
    let mut names = BTreeSet::new();
    references(&schema, &mut names);
    assert!(names.len() > 10);
    for name in names {
        assert_eq!(schema["$defs"][&name]["additionalProperties"], false, "{name}");
    }
}

fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::Object(properties)) = object.get("properties") {
                found.extend(properties.keys().cloned());
            }
            object.values().for_each(|value| keys(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            let name =
                object.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix("#/$defs/"));
            found.extend(name.map(str::to_owned));
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}
