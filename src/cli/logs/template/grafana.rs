//! A dashboard for Grafana with its ClickHouse plug-in (`grafana-clickhouse-datasource`).

use serde_json::{Value, json};

/// Requests that count: a tunnel's opening is none.
const REQUESTS: &str = "FROM tollgate WHERE $__timeFilter(ts) AND kind IN ('request', 'close')";

/// Name, kind of panel, statement, unit; from the left and the top in two columns.
const PANELS: &[(&str, &str, &str, &str)] = &[
    (
        "Requests per second by class",
        "timeseries",
        "SELECT $__timeInterval(ts) AS time, concat(toString(intDiv(status, 100)), 'xx') AS class, sum(ifNull(sw, 1)) / $__interval_s AS requests {from} GROUP BY time, class ORDER BY time",
        "reqps",
    ),
    (
        "Share of errors",
        "timeseries",
        "SELECT $__timeInterval(ts) AS time, sumIf(ifNull(sw, 1), status >= 500) / sum(ifNull(sw, 1)) AS errors {from} GROUP BY time ORDER BY time",
        "percentunit",
    ),
    (
        "Duration",
        "timeseries",
        "SELECT $__timeInterval(ts) AS time, quantile(0.5)(dur_us) AS p50, quantile(0.9)(dur_us) AS p90, quantile(0.99)(dur_us) AS p99 {from} AND kind = 'request' GROUP BY time ORDER BY time",
        "µs",
    ),
    (
        "Where the time goes",
        "timeseries",
        "SELECT $__timeInterval(ts) AS time, avg(t_queue_us) AS queue, avg(t_conn_us) AS connect, avg(t_send_us) AS send, avg(t_wait_us) AS wait, avg(t_resp_us) AS resp, avg(t_self_us) AS self {from} AND kind = 'request' GROUP BY time ORDER BY time",
        "µs",
    ),
    (
        "Routes",
        "table",
        "SELECT host, route, sum(ifNull(sw, 1)) AS requests, sumIf(ifNull(sw, 1), status >= 500) AS errors, quantile(0.99)(dur_us) / 1000 AS p99_ms, sum(tx_body_b) AS bytes {from} GROUP BY host, route ORDER BY requests DESC LIMIT 50",
        "short",
    ),
    (
        "Why requests failed",
        "table",
        "SELECT end_by, reason, cause, count() AS requests, any(id) AS example {from} AND reason IS NOT NULL GROUP BY end_by, reason, cause ORDER BY requests DESC LIMIT 50",
        "short",
    ),
    (
        "Endpoints",
        "table",
        "SELECT upstream, up_addr, worker, count() AS requests, countIf(status >= 500) AS errors, quantile(0.99)(t_wait_us) / 1000 AS wait_p99_ms, max(up_req) AS in_flight {from} AND upstream IS NOT NULL GROUP BY upstream, up_addr, worker ORDER BY requests DESC LIMIT 50",
        "short",
    ),
    (
        "Records that are missing",
        "table",
        "SELECT proxy, core, reason, sum(missing) AS lost FROM tollgate WHERE $__timeFilter(ts) AND kind = 'gap' GROUP BY proxy, core, reason ORDER BY lost DESC",
        "short",
    ),
];

pub(super) fn dashboard() -> Value {
    let source = json!({ "type": "grafana-clickhouse-datasource", "uid": "${source}" });
    let panels: Vec<Value> =
        PANELS.iter().enumerate().map(|(index, panel)| panel_of(index, panel, &source)).collect();
    json!({
        "title": "tollgate",
        "uid": "tollgate",
        "schemaVersion": 39,
        "time": { "from": "now-1h", "to": "now" },
        "refresh": "10s",
        "templating": { "list": [
            { "name": "source", "type": "datasource", "query": "grafana-clickhouse-datasource", "label": "ClickHouse" }
        ] },
        "panels": panels,
    })
}

fn panel_of(
    index: usize,
    (title, kind, statement, unit): &(&str, &str, &str, &str),
    source: &Value,
) -> Value {
    let is_table = *kind == "table";
    json!({
        "id": index + 1,
        "title": title,
        "type": kind,
        "datasource": source,
        "gridPos": { "x": index % 2 * 12, "y": index / 2 * 8, "w": 12, "h": 8 },
        "fieldConfig": { "defaults": { "unit": unit }, "overrides": [] },
        "targets": [{
            "refId": "A",
            "datasource": source,
            "editorType": "sql",
            "queryType": if is_table { "table" } else { "timeseries" },
            "format": i32::from(is_table),
            "rawSql": statement.replace("{from}", REQUESTS),
        }],
    })
}
