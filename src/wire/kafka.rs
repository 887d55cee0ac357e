//! What of Kafka's protocol a producer needs beside the messages, which `kafka_protocol` has: frames, batches of records,
//! and the partition of a key.

use bytes::{BufMut, Bytes, BytesMut};
use indexmap::IndexMap;
use kafka_protocol::indexmap;
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{
    Decodable, HeaderVersion, Request, StrBytes, encode_request_header_into_buffer,
};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

/// Who we are in the logs of a broker.
const CLIENT: &str = "tollgate";

/// What cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("it is not Kafka's protocol: {0}")]
pub struct Malformed(String);

fn malformed(error: impl std::fmt::Display) -> Malformed {
    Malformed(error.to_string())
}

/// A request with its length and header.
///
/// # Errors
/// It cannot be written in this version.
pub fn request<R: Request>(request: &R, version: i16, correlation: i32) -> Result<Bytes, Malformed> {
    let mut header = RequestHeader::default();
    (header.request_api_key, header.request_api_version) = (R::KEY, version);
    (header.correlation_id, header.client_id) = (correlation, Some(StrBytes::from_static_str(CLIENT)));
    let mut out = BytesMut::new();
    out.put_u32(0);
    encode_request_header_into_buffer(&mut out, &header).map_err(malformed)?;
    request.encode(&mut out, version).map_err(malformed)?;
    let length = u32::try_from(out.len() - 4).map_err(malformed)?;
    out[..4].copy_from_slice(&length.to_be_bytes());
    Ok(out.freeze())
}

/// The answer to it, of which the length is taken off already.
///
/// # Errors
/// It is not the answer to this request.
pub fn response<R: Request>(
    mut frame: Bytes,
    version: i16,
    correlation: i32,
) -> Result<R::Response, Malformed> {
    let header = R::Response::header_version(version);
    let header = ResponseHeader::decode(&mut frame, header).map_err(malformed)?;
    if header.correlation_id != correlation {
        return Err(malformed("an answer to another request"));
    }
    // Newer brokers may have more to say than the version has room for.
    R::Response::decode(&mut frame, version).map_err(malformed)
}

/// One record of a batch.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: Bytes,
    pub value: Bytes,
    pub ts_ms: i64,
    pub headers: Vec<(&'static str, Bytes)>,
}

/// Records as a partition takes them.
///
/// # Errors
/// They cannot be written.
pub fn batch(entries: Vec<Entry>, compress: bool) -> Result<Bytes, Malformed> {
    // Numbers within the batch, from 0; without a producer's number the sequence is that before 0.
    let records: Vec<Record> = (0..).zip(entries).map(|(offset, entry)| record(offset, entry)).collect();
    let compression = if compress { Compression::Gzip } else { Compression::None };
    let mut out = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression };
    RecordBatchEncoder::encode(&mut out, &records, &options).map_err(malformed)?;
    Ok(out.freeze())
}

fn record(offset: i32, entry: Entry) -> Record {
    let headers =
        entry.headers.into_iter().map(|(name, value)| (StrBytes::from_static_str(name), Some(value)));
    Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        timestamp_type: TimestampType::Creation,
        offset: offset.into(),
        sequence: offset + NO_SEQUENCE,
        timestamp: entry.ts_ms,
        key: Some(entry.key),
        value: Some(entry.value),
        headers: headers.collect::<IndexMap<_, _>>(),
    }
}

/// The place of a key among so many partitions, as Kafka's own clients choose it (MurmurHash2, seed 0x9747b28c).
pub fn partition(key: &[u8], count: usize) -> usize {
    (murmur2(key) & 0x7fff_ffff) as usize % count.max(1)
}

fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let (blocks, rest) = bytes.as_chunks::<4>();
    for block in blocks {
        let mut block = u32::from_le_bytes(*block).wrapping_mul(M);
        block ^= block >> 24;
        hash = hash.wrapping_mul(M) ^ block.wrapping_mul(M);
    }
    if !rest.is_empty() {
        hash ^= rest.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
    use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest, MetadataResponse, TopicName};
    use kafka_protocol::protocol::Encodable as _;
    use kafka_protocol::records::RecordBatchDecoder;

    use super::*;

    /// The values of Kafka's own tests (UtilsTest.testMurmur2).
    #[test]
    fn the_partition_is_that_of_other_clients() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn a_key_has_a_partition_however_many_there_are() {
        let hash = 1_173_551_340;
        for count in [1, 2, 3, 4, 7, 100, 10_000] {
            assert_eq!(partition(b"21", count), hash % count, "{count}");
        }
        assert_eq!(partition(b"21", 0), 0);
        assert!((0..=255_u8).all(|byte| partition(&[byte; 5], 3) < 3), "negative hashes, too");
    }

    #[test]
    fn a_batch_has_its_records_in_order() {
        let entry = |value: &'static str| Entry {
            key: Bytes::from_static(b"k"),
            value: Bytes::from_static(value.as_bytes()),
            ts_ms: 1_700_000_000_000,
            headers: vec![("seq", Bytes::from_static(b"7"))],
        };
        for compress in [false, true] {
            let mut batch = batch(vec![entry("a"), entry("b"), entry("c")], compress).unwrap();
            let sets = RecordBatchDecoder::decode_all(&mut batch).unwrap();
            assert_eq!(sets.len(), 1);
            let values: Vec<_> = sets[0].records.iter().map(|record| record.value.clone().unwrap()).collect();
            assert_eq!(values, ["a", "b", "c"]);
            for record in &sets[0].records {
                let headers: Vec<_> =
                    record.headers.iter().map(|(name, value)| (&**name, value.as_deref())).collect();
                assert_eq!(headers, [("seq", Some(&b"7"[..]))]);
                assert_eq!((record.key.as_deref(), record.timestamp), (Some(&b"k"[..]), 1_700_000_000_000));
            }
        }
    }

    #[test]
    fn an_answer_that_ends_early_is_none_and_one_that_says_more_is() {
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_static_str("logs"))))
            .with_partitions(vec![MetadataResponsePartition::default().with_partition_index(3)]);
        let told = MetadataResponse::default().with_topics(vec![topic]);
        for version in [1, 8, 9, 12] {
            let mut answer = BytesMut::new();
            let head = ResponseHeader::default().with_correlation_id(7);
            head.encode(&mut answer, MetadataResponse::header_version(version)).unwrap();
            told.encode(&mut answer, version).unwrap();
            for end in 0..answer.len() {
                let cut = Bytes::copy_from_slice(&answer[..end]);
                assert!(response::<MetadataRequest>(cut, version, 7).is_err(), "{version}: {end}");
            }
            answer.put_slice(b"more");
            let answer = answer.freeze();
            assert_eq!(response::<MetadataRequest>(answer.clone(), version, 7).unwrap(), told, "{version}");
            assert!(response::<MetadataRequest>(answer, version, 8).is_err(), "{version}");
        }
    }

    #[test]
    fn an_answer_is_that_to_the_question() {
        let asked = request(&ApiVersionsRequest::default(), 0, 7).unwrap();
        assert_eq!((&asked[..4], &asked[4..12]), (&[0, 0, 0, 18][..], &[0, 18, 0, 0, 0, 0, 0, 7][..]));
        for bad in [&b""[..], &[0, 0, 0, 8, 0, 0], &[0, 0, 0, 7, 0]] {
            assert!(response::<MetadataRequest>(Bytes::copy_from_slice(bad), 1, 7).is_err());
        }
    }
}
