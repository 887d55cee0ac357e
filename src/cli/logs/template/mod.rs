//! `logs template`: what other stores need to take our records, made from one list of members and their types.

mod fields;
mod grafana;

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::CommandError;
use super::output::Output;
use fields::{FIELDS, Type};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Store {
    /// An index template for Elasticsearch: PUT _index_template/tollgate.
    Es,
    /// The same for OpenSearch.
    Opensearch,
    /// CREATE TABLE for ClickHouse.
    Clickhouse,
    /// A dashboard for Grafana over that table of ClickHouse.
    Grafana,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tollgate logs template es | curl -X PUT -H 'Content-Type: application/json' --data-binary @- localhost:9200/_index_template/tollgate
  tollgate logs template clickhouse | clickhouse client --multiquery
  tollgate logs export --as ndjson | clickhouse client -q 'INSERT INTO tollgate FORMAT JSONEachRow'")]
pub(super) struct TemplateArgs {
    #[arg(value_enum)]
    store: Store,
}

pub(super) fn run(args: &TemplateArgs) -> Result<bool, CommandError> {
    let text = match args.store {
        Store::Es => format!("{:#}", index("flattened")),
        Store::Opensearch => format!("{:#}", index("flat_object")),
        Store::Clickhouse => clickhouse(),
        Store::Grafana => format!("{:#}", grafana::dashboard()),
    };
    let mut output = Output::stdout();
    output.line(&text)?;
    output.flush()?;
    Ok(true)
}

/// `object` is the type for members of any shape.
fn index(object: &str) -> Value {
    let properties: Map<String, Value> =
        FIELDS.iter().map(|(name, kind)| ((*name).to_owned(), mapping(*kind, object))).collect();
    json!({
        "index_patterns": ["tollgate-*"],
        "priority": 200,
        "template": {
            "settings": { "index.codec": "best_compression", "index.mapping.total_fields.limit": 500, "index.sort.field": "ts", "index.sort.order": "desc" },
            "mappings": {
                // What is not in the list (of other services) is kept as words.
                "dynamic_templates": [
                    { "words": { "match_mapping_type": "string", "mapping": { "type": "keyword", "ignore_above": 8191 } } }
                ],
                "properties": properties,
            },
        },
    })
}

fn mapping(kind: Type, object: &str) -> Value {
    match kind {
        Type::Time => json!({ "type": "date_nanos" }),
        Type::Id | Type::Hex | Type::Word => json!({ "type": "keyword", "ignore_above": 1024 }),
        Type::Text => {
            json!({ "type": "keyword", "ignore_above": 8191, "fields": { "words": { "type": "text" } } })
        }
        Type::Ip => json!({ "type": "ip", "ignore_malformed": true }),
        Type::Bool => json!({ "type": "boolean" }),
        Type::Small | Type::Number => json!({ "type": "long" }),
        Type::Float => json!({ "type": "float" }),
        Type::Object => json!({ "type": object }),
    }
}

fn clickhouse() -> String {
    let columns: Vec<String> =
        FIELDS.iter().map(|(name, kind)| format!("    `{name}` {}", column(name, *kind))).collect();
    format!(
        "CREATE TABLE IF NOT EXISTS tollgate\n(\n{},\n    INDEX by_id id TYPE bloom_filter GRANULARITY 4,\n    INDEX by_rid rid TYPE bloom_filter GRANULARITY 4\n)\n\
         ENGINE = ReplacingMergeTree\nPARTITION BY toDate(ts)\nORDER BY (ts, id, ifNull(kind, ''))\nTTL toDateTime(ts) + INTERVAL 30 DAY\n\
         SETTINGS allow_nullable_key = 0;\n-- INSERT … FORMAT JSONEachRow with input_format_skip_unknown_fields = 1, date_time_input_format = 'best_effort'",
        columns.join(",\n")
    )
}

fn column(name: &str, kind: Type) -> String {
    let inner = match kind {
        Type::Time if name == "ts" => return "DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1))".to_owned(),
        Type::Id => return "UUID".to_owned(),
        Type::Object => return "Nullable(String)".to_owned(),
        Type::Word => return "LowCardinality(Nullable(String))".to_owned(),
        Type::Time => "DateTime64(6, 'UTC')",
        // Names may stand where addresses are expected.
        Type::Hex | Type::Text | Type::Ip => "String",
        Type::Bool => "Bool",
        Type::Small => "UInt32",
        Type::Number => "UInt64",
        Type::Float => "Float32",
    };
    format!("Nullable({inner})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_has_a_type_everywhere() {
        let index = index("flattened");
        let properties = index["template"]["mappings"]["properties"].as_object().unwrap();
        assert_eq!((properties.len(), &properties["client_ip"]["type"]), (FIELDS.len(), &json!("ip")));
        let table = clickhouse();
        assert!(FIELDS.iter().all(|(name, _)| table.contains(&format!("`{name}` "))), "{table}");
        // Rows that are equal there replace each other, and the two of a tunnel have one time and one id.
        assert!(table.contains("ORDER BY (ts, id, ifNull(kind, ''))"), "{table}");
    }

    #[test]
    fn the_dashboard_names_only_members_of_records() {
        let dashboard = grafana::dashboard().to_string();
        for name in ["ts", "status", "dur_us", "route", "reason"] {
            assert!(dashboard.contains(name) && FIELDS.iter().any(|(field, _)| *field == name), "{name}");
        }
    }
}
