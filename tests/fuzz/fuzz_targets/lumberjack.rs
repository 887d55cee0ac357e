//! Any bytes as frames of Lumberjack, however they arrive: events stay within their bound.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tokio::io::BufReader;
use tollgate::wire::lumberjack::{Frame, Reader};

const MAX: usize = 2000;

fuzz_target!(|data: &[u8]| {
    let Some((piece, sent)) = data.split_first() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut reader = Reader::new(BufReader::with_capacity(usize::from(*piece) + 1, sent), MAX);
        while let Ok(true) = reader.ready().await {
            match reader.next().await {
                Ok(Some(Frame::Event { text: Ok(text), .. })) => assert!(text.len() <= MAX),
                Ok(_) => {}
                Err(_) => return,
            }
        }
    });
});
