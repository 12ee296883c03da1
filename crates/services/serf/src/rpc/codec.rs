//! Requests and answers in a stream of bytes, which has no frames: a record ends where its last value does.

use bytes::{Buf as _, BytesMut};
use muster_gossip::wire::msgpack::{DecodeError, Reader};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::record::Record;
use super::types::{Request, RequestHeader, ResponseHeader};

/// One record of a request. Payloads are bounded at some KiB, lists of addresses are what people type.
pub const REQUEST_MAX: usize = 4 * 1024 * 1024;
/// One record of an answer; 100,000 members with tags need 30 MB.
pub const RESPONSE_MAX: usize = 64 * 1024 * 1024;

const PIECE: usize = 16 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("nothing more can be read")]
    Io(#[source] std::io::Error),
    #[error("what came is not Serf's RPC")]
    Decode(#[source] DecodeError),
    #[error("a record is longer than {max} bytes")]
    TooLong { max: usize },
    #[error("the connection ended within a record")]
    Cut,
}

/// Reads records one after the other. A read that is dropped loses nothing.
#[derive(Debug)]
pub struct RecordReader<R> {
    input: R,
    buffer: BytesMut,
    max: usize,
}

impl<R: AsyncRead + Unpin> RecordReader<R> {
    pub fn new(input: R, max: usize) -> Self {
        Self { input, buffer: BytesMut::new(), max }
    }

    /// `None` at the end of the stream.
    pub async fn record<T: Record>(&mut self) -> Result<Option<T>, ReadError> {
        self.read(T::decode).await
    }

    /// What follows a request's header: the request, or `None` inside if there is no such command.
    pub async fn request(&mut self, header: &RequestHeader) -> Result<Option<Option<Request>>, ReadError> {
        // Those without a body need no byte.
        if let Ok(request) = Request::decode(&header.command, &mut Reader::new(&[])) {
            return Ok(Some(request));
        }
        self.read(|reader| Request::decode(&header.command, reader)).await
    }

    async fn read<T>(
        &mut self,
        decode: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, ReadError> {
        loop {
            let mut reader = Reader::new(&self.buffer);
            match decode(&mut reader) {
                Ok(value) => {
                    let read = reader.position();
                    self.buffer.advance(read);
                    return Ok(Some(value));
                }
                Err(DecodeError::Incomplete) if self.buffer.len() > self.max => {
                    return Err(ReadError::TooLong { max: self.max });
                }
                Err(DecodeError::Incomplete) => {}
                Err(error) => return Err(ReadError::Decode(error)),
            }
            // A record that comes in pieces is decoded again from its start: ever larger pieces keep that cheap.
            self.buffer.reserve(self.buffer.len().max(PIECE));
            if self.input.read_buf(&mut self.buffer).await.map_err(ReadError::Io)? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(ReadError::Cut) };
            }
        }
    }
}

/// An answer, or a record of a stream: the header, and the body if there is one.
pub fn encode_response<T: Record>(seq: u64, error: &str, body: Option<&T>) -> Vec<u8> {
    let mut out = Vec::new();
    ResponseHeader { error: error.to_owned(), seq }.encode(&mut out);
    if let Some(body) = body {
        body.encode(&mut out);
    }
    out
}

/// An answer that is its header alone.
pub fn encode_answer(seq: u64, error: &str) -> Vec<u8> {
    encode_response::<ResponseHeader>(seq, error, None)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::types::{AnyEvent, Join, Keys, Member, MemberEvent, Members, Query, QueryEvent, UserEvent};
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    #[test]
    fn requests_are_written_in_the_new_dialect() {
        let mut out = Vec::new();
        let payload = Bytes::from_static(b"abc");
        Request::Event(UserEvent { coalesce: true, name: "deploy".into(), payload }).encode(7, &mut out);
        let expected = "82 a7 436f6d6d616e64 a5 6576656e74 a3 536571 07
            83 a8 436f616c65736365 c3 a4 4e616d65 a6 6465706c6f79 a7 5061796c6f6164 c403 616263";
        assert_eq!(out, hex(expected));
        let long = "x".repeat(40);
        let mut out = Vec::new();
        Request::Join(Join { existing: vec![long.clone()], replay: false }).encode(1, &mut out);
        assert!(out.windows(3).any(|bytes| bytes == [0xd9, 40, b'x']), "{out:x?}");
    }

    #[test]
    fn nothing_is_nil_where_go_has_it() {
        let event = QueryEvent { event: "query".into(), ..QueryEvent::default() };
        let out = encode_response(3, "", Some(&event));
        assert!(out.ends_with(&hex("a7 5061796c6f6164 c0")), "{out:x?}");
        let out = encode_response(3, "", Some(&Keys::default()));
        assert!(out.windows(6).any(|bytes| bytes == hex("a4 4b657973 c0")), "{out:x?}");
    }

    #[tokio::test]
    async fn records_come_in_pieces_and_behind_each_other() {
        let member = Member {
            addr: Some("127.0.0.201".parse().unwrap()),
            name: "n1".into(),
            port: 7946,
            status: "alive".into(),
            tags: [("role".to_owned(), "client".to_owned())].into(),
            ..Member::default()
        };
        let members = Members { members: vec![member.clone(); 3] };
        let mut bytes = encode_response(1, "", Some(&members));
        let event = MemberEvent { event: "member-join".into(), members: vec![member.clone()] };
        bytes.extend(encode_response(2, "a mistake", Some(&event)));
        let (mut near, far) = tokio::io::duplex(7);
        let mut reader = RecordReader::new(far, 1024);
        let write = async {
            tokio::io::AsyncWriteExt::write_all(&mut near, &bytes).await.unwrap();
            drop(near);
        };
        let read = async {
            let header: ResponseHeader = reader.record().await.unwrap().unwrap();
            assert_eq!((header.seq, header.error.as_str()), (1, ""));
            assert_eq!(reader.record::<Members>().await.unwrap().unwrap(), members);
            let header: ResponseHeader = reader.record().await.unwrap().unwrap();
            assert_eq!((header.seq, header.error.as_str()), (2, "a mistake"));
            let any: AnyEvent = reader.record().await.unwrap().unwrap();
            assert_eq!((any.event.as_str(), any.members), ("member-join", vec![member]));
            assert!(reader.record::<ResponseHeader>().await.unwrap().is_none());
        };
        tokio::join!(write, read);
    }

    #[tokio::test]
    async fn every_request_comes_back_and_unknown_ones_are_told() {
        let query = Query { name: "up".into(), timeout_ns: -1, relay_factor: 255, ..Query::default() };
        let requests = [Request::Members, Request::Query(query), Request::Leave, Request::Stats];
        let mut bytes = Vec::new();
        for (request, seq) in requests.iter().zip(0..) {
            request.encode(seq, &mut bytes);
        }
        RequestHeader { command: "dance".into(), seq: 9 }.encode(&mut bytes);
        let mut reader = RecordReader::new(&bytes[..], REQUEST_MAX);
        for request in requests {
            let header: RequestHeader = reader.record().await.unwrap().unwrap();
            assert_eq!(reader.request(&header).await.unwrap(), Some(Some(request)));
        }
        let header: RequestHeader = reader.record().await.unwrap().unwrap();
        assert_eq!(reader.request(&header).await.unwrap(), Some(None));
    }

    #[tokio::test]
    async fn a_record_has_a_limit_and_an_end() {
        // An array of 100,000 texts that never come.
        let endless = [&hex("81 a8 4578697374696e67 dd000186a0")[..], &[0xa1, b'x'].repeat(5000)].concat();
        let mut reader = RecordReader::new(&endless[..], 1000);
        assert!(matches!(reader.record::<Join>().await, Err(ReadError::TooLong { max: 1000 })));
        let mut reader = RecordReader::new(&endless[..20], 1000);
        assert!(matches!(reader.record::<Join>().await, Err(ReadError::Cut)));
        let mut reader = RecordReader::new(&b"GET / HTTP/1.1\r\n"[..], 1000);
        assert!(matches!(reader.record::<RequestHeader>().await, Err(ReadError::Decode(_))));
    }
}
