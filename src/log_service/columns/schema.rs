//! The columns in their order: the one list from which the Arrow schema and the builders are made.

use std::sync::{Arc, LazyLock};

use arrow_array::ArrayRef;
use arrow_array::types::{UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::cells::{Cells, Fixed, Flags, JsonTexts, Numbers, Texts, Times, Words};

type U8 = Numbers<UInt8Type>;
type U16 = Numbers<UInt16Type>;
type U32 = Numbers<UInt32Type>;
type U64 = Numbers<UInt64Type>;

macro_rules! columns {
    ($($name:ident: $cells:ty,)*) => {
        /// The cells of the rows at hand, by column.
        #[derive(Default)]
        pub(super) struct Columns {
            $(pub(super) $name: $cells,)*
        }

        /// Names of all columns, in schema order.
        pub(crate) const NAMES: &[&str] = &[$(stringify!($name),)*];

        impl Columns {
            /// The column of a member of a JSON object. Only those that take members as they are.
            pub(super) fn of_member(&mut self, name: &str) -> Option<&mut dyn Cells> {
                match name {
                    "id" | "ts" | "recv" | "kind" | "from" | "body" => None,
                    $(stringify!($name) => Some(&mut self.$name),)*
                    _ => None,
                }
            }

            pub(super) fn finish(&mut self, rows: usize) -> Result<Vec<ArrayRef>, ArrowError> {
                Ok(vec![$(self.$name.finish(rows)?,)*])
            }
        }

        fn fields() -> Vec<Field> {
            vec![$(Field::new(stringify!($name), <$cells>::data_type(), is_nullable(stringify!($name))),)*]
        }
    };
}

columns! {
    v: U8,
    kind: Words,
    ts: Times,
    id: Fixed<16>,
    recv: Times,
    from: Words,
    proxy: Words,
    boot: U64,
    core: U16,
    seq: U64,
    rid: Texts,
    rid_in: Texts,
    trace_id: Fixed<16>,
    span_id: Fixed<8>,
    parent_id: Fixed<8>,
    trace_flags: U8,
    cfg: Words,
    conn: U64,
    conn_req: U32,
    h2_stream: U32,
    listener: Words,
    client_ip: Words,
    client_port: U16,
    peer_ip: Words,
    method: Words,
    scheme: Words,
    host: Words,
    path: Texts,
    query: Texts,
    site: Words,
    route: Words,
    proto: Words,
    referer: Texts,
    ua: Words,
    req_type: Words,
    status: U16,
    up_status: U16,
    resp_type: Words,
    enc: Words,
    rx_head_b: U64,
    rx_body_b: U64,
    tx_head_b: U64,
    tx_body_b: U64,
    up_tx_b: U64,
    up_rx_b: U64,
    dur_us: U64,
    t_tls_us: U64,
    t_idle_us: U64,
    t_head_us: U64,
    t_policy_us: U64,
    t_queue_us: U64,
    t_conn_us: U64,
    t_send_us: U64,
    t_wait_us: U64,
    t_resp_us: U64,
    t_self_us: U64,
    upstream: Words,
    up_addr: Words,
    worker: Words,
    up_reused: Flags,
    pick: Words,
    tries: U8,
    try_log: JsonTexts,
    end_by: Words,
    end_at: Words,
    reason: Words,
    cause: Words,
    err: Texts,
    rl: Words,
    rl_rule: Words,
    n_conn: U32,
    n_req: U32,
    up_req: U32,
    first_seq: U64,
    last_seq: U64,
    missing: U64,
    last_seqs: JsonTexts,
    tls_ver: Words,
    tls_cipher: Words,
    tls_group: Words,
    tls_alpn: Words,
    tls_sni: Words,
    tls_resumed: Flags,
    cut: JsonTexts,
    sw: U32,
    detail: U8,
    level: Words,
    stream: Words,
    line: Texts,
    msg: Texts,
    body: JsonTexts,
}

/// The columns whose text is a JSON value of its own.
pub(super) const JSON_TEXTS: [&str; 3] = ["try_log", "last_seqs", "cut"];

fn is_nullable(name: &str) -> bool {
    !matches!(name, "id" | "ts" | "recv" | "kind")
}

/// The type of a member's column.
pub(crate) fn type_of(name: &str) -> Option<&'static DataType> {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(schema);
    SCHEMA.field_with_name(name).ok().map(Field::data_type)
}

/// The Arrow schema of all rows.
pub(crate) fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(Schema::new(fields())));
    Arc::clone(&SCHEMA)
}
