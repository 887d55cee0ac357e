//! Any bytes on the packet port of a real log service: however broken, the next good packet is answered.

#![no_main]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tollgate::log_service::{LogService, Settings};

const END: &str = "¶";
/// Asks for nothing that would be stored, so that a run costs no write to disk.
const LAST: &str = r#"¶{"uri":"/nothing","method":"POST","key":98765432101234567,"params":{}}¶"#;

static RIG: OnceLock<Rig> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    // Larger packets may end the connection; smaller ones never.
    let Some((chunk, packets)) = data.split_first() else { return };
    let rig = RIG.get_or_init(Rig::start);
    let replies = rig.runtime.block_on(async {
        let talk = converse(rig.address, packets, usize::from(*chunk) + 1);
        tokio::time::timeout(Duration::from_secs(10), talk).await.expect("the last packet is answered")
    });
    for reply in replies.split(END).filter(|reply| !reply.is_empty()) {
        let reply: serde_json::Value = serde_json::from_str(reply).expect("a reply is JSON");
        assert!(reply["errorcode"].is_u64() && reply["errormessage"].is_string());
    }
});

struct Rig {
    runtime: Runtime,
    address: SocketAddr,
    _data: TempDir,
}

impl Rig {
    fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let memory = Path::new("/dev/shm");
        let data = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.expect("a folder");
        let settings =
            Settings { packets: Some(([127, 0, 0, 1], 0).into()), ..Settings::new(data.path().to_owned()) };
        let service = runtime.block_on(LogService::start(settings)).expect("a service");
        let address = service.packets().expect("a packet port");
        runtime.spawn(service.run(std::future::pending()));
        Self { runtime, address, _data: data }
    }
}

/// Sends everything in pieces and returns all replies, up to that to the last packet.
async fn converse(address: SocketAddr, packets: &[u8], piece: usize) -> String {
    let stream = TcpStream::connect(address).await.expect("a connection");
    // Thousands of runs per minute must not leave a port each behind.
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("linger");
    let (mut reader, mut writer) = stream.into_split();
    let send = async {
        for piece in packets.chunks(piece).chain([LAST.as_bytes()]) {
            writer.write_all(piece).await.expect("the service reads on");
        }
    };
    let receive = async {
        let mut replies = Vec::new();
        while !String::from_utf8_lossy(&replies).contains("98765432101234567") {
            let read = reader.read_buf(&mut replies).await.expect("the service answers");
            assert!(read > 0, "the service hung up");
        }
        replies
    };
    let ((), mut replies) = tokio::join!(send, receive);
    while !replies.ends_with(END.as_bytes()) {
        reader.read_buf(&mut replies).await.expect("the rest of the reply");
    }
    String::from_utf8(replies).expect("replies are UTF-8")
}
