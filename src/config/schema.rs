//! The JSON Schema of a configuration (draft 2020-12), made from the shapes that read it.

use serde_json::{Map, Value, json};

use super::reference::{prose, root};
use super::shape::{Key, Kind, Literal, Presence, Shape};

/// The schema of a whole file, for completion and checking in editors.
pub fn schema() -> Value {
    let mut tables = Map::new();
    let body = table(&root(), &mut tables);
    let mut schema =
        json!({ "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "tollgate" });
    if let (Some(schema), Value::Object(body)) = (schema.as_object_mut(), body) {
        schema.extend(body);
        schema.insert("$defs".to_owned(), Value::Object(tables));
    }
    schema
}

fn table(shape: &Shape, tables: &mut Map<String, Value>) -> Value {
    let keys = shape.keys.iter().map(|key| (key.name.to_owned(), property(key, tables)));
    let properties: Map<String, Value> = keys.collect();
    let required: Vec<&str> = shape
        .keys
        .iter()
        .filter(|key| matches!(key.presence, Presence::Required))
        .map(|key| key.name)
        .collect();
    let mut schema = json!({
        "type": "object",
        "description": prose(shape.about),
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn property(key: &Key, tables: &mut Map<String, Value>) -> Value {
    let mut schema = of(&key.kind, tables);
    schema["description"] = json!(prose(key.doc));
    if let Presence::Default(literal) = &key.presence {
        schema["default"] = default(literal);
    }
    schema
}

fn of(kind: &Kind, tables: &mut Map<String, Value>) -> Value {
    match kind {
        Kind::Word { example: "", .. } => json!({ "type": "string" }),
        Kind::Word { what, example } => json!({ "type": "string", "title": what, "examples": [example] }),
        Kind::Choice { words, .. } => json!({ "type": "string", "enum": words }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Only(on) => json!({ "const": on }),
        Kind::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::List(item) => json!({ "type": "array", "items": of(item, tables) }),
        Kind::OneOrMany(item) => {
            let one = of(item, tables);
            json!({ "anyOf": [one.clone(), { "type": "array", "items": one }] })
        }
        Kind::Map { value, .. } => json!({ "type": "object", "additionalProperties": of(value, tables) }),
        Kind::Table(shape) => {
            if !tables.contains_key(shape.name) {
                let body = table(shape, tables);
                tables.insert(shape.name.to_owned(), body);
            }
            json!({ "$ref": format!("#/$defs/{}", shape.name) })
        }
        Kind::Any(kinds) => json!({ "anyOf": kinds.iter().map(|kind| of(kind, tables)).collect::<Vec<_>>() }),
    }
}

fn default(literal: &Literal) -> Value {
    match literal {
        Literal::Text(text) => json!(text),
        Literal::Integer(number) => json!(number),
        Literal::Bool(on) => json!(on),
        Literal::List(items) => json!(items),
        Literal::Table => json!({}),
    }
}
