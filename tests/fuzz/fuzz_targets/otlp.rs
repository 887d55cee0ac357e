//! Any bytes as OTLP logs, in both forms: refused, or read to the end without harm. What was read is written again as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::wire::otlp::Form;
use tollgate::wire::otlp::message::{LogRecord, Logs, ResourceLogs, ScopeLogs};

fuzz_target!(|data: &[u8]| {
    for form in [Form::Protobuf, Form::Json] {
        let mut records: Vec<LogRecord> = Vec::new();
        let _ = form.records(data, 1000, &mut |_, record| records.extend(record));
        let _ = form.answer(data);
        let count = records.len();
        let scope_logs = vec![ScopeLogs { log_records: records, ..ScopeLogs::default() }];
        let logs = Logs { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] };
        let mut again = 0;
        let read = Form::Protobuf.records(&Form::Protobuf.write(&logs), usize::MAX, &mut |_, _| again += 1);
        assert!(read.is_ok() && again == count, "what is written is read");
    }
});
