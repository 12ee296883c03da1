//! A stream of JSON documents, one a line.

use std::marker::PhantomData;

use bytes::BytesMut;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use muster_types::NodeName;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::connection::{Connection, Pool, call_error};
use crate::{Limits, TransportError};

/// What an agent tells while it works. Blank lines between the documents are signs of life.
pub struct EventStream<T> {
    node: NodeName,
    operation: &'static str,
    limits: Limits,
    body: Incoming,
    lines: Lines,
    ended: bool,
    /// Where the connection goes once the stream has ended as it should.
    kept: Option<(Pool, Connection)>,
    _item: PhantomData<fn() -> T>,
}

impl<T> EventStream<T> {
    pub(crate) fn new(node: &NodeName, operation: &'static str, limits: &Limits, body: Incoming) -> Self {
        Self {
            node: node.clone(),
            operation,
            limits: limits.clone(),
            body,
            lines: Lines::new(limits.line_bytes),
            ended: false,
            kept: None,
            _item: PhantomData,
        }
    }

    pub(crate) fn returning(mut self, pool: Pool, connection: Connection) -> Self {
        self.kept = Some((pool, connection));
        self
    }
}

impl<T: DeserializeOwned> EventStream<T> {
    /// The next document; `None` after the last. After an error the stream has ended. Losing this future loses nothing:
    /// what was read is kept for the next call.
    pub async fn next(&mut self) -> Result<Option<T>, TransportError> {
        if self.ended {
            return Ok(None);
        }
        let result = self.read().await;
        if !matches!(result, Ok(Some(_))) {
            self.ended = true;
        }
        if let (Ok(None), Some((pool, connection))) = (&result, self.kept.take_if(|_| self.ended)) {
            pool.put(connection);
        }
        result
    }

    async fn read(&mut self) -> Result<Option<T>, TransportError> {
        loop {
            if let Some(line) = self.lines.take().map_err(|detail| self.protocol(detail))? {
                return serde_json::from_slice(&line).map(Some).map_err(|error| self.protocol(error.to_string()));
            }
            let limit = self.limits.silence;
            let frame = timeout(limit, self.body.frame()).await.map_err(|_| TransportError::Timeout {
                node: self.node.clone(),
                operation: self.operation,
                limit,
            })?;
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.lines.push(&data);
                    }
                }
                Some(Err(error)) => return Err(call_error(&self.node, self.operation, error)),
                None if self.lines.is_empty() => return Ok(None),
                None => return Err(self.protocol("its last line has no end".to_owned())),
            }
        }
    }

    fn protocol(&self, detail: String) -> TransportError {
        TransportError::Protocol { node: self.node.clone(), operation: self.operation, detail }
    }
}

/// Cuts bytes into lines and drops the blank ones.
#[derive(Debug)]
struct Lines {
    buffer: BytesMut,
    /// Bytes of the buffer that are known to hold no end of a line.
    searched: usize,
    bytes_max: usize,
}

impl Lines {
    fn new(bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, bytes_max }
    }

    fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    fn take(&mut self) -> Result<Option<BytesMut>, String> {
        loop {
            let Some(found) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                let too_long = self.searched > self.bytes_max;
                return if too_long { Err(self.too_long()) } else { Ok(None) };
            };
            let mut line = self.buffer.split_to(self.searched + found + 1);
            self.searched = 0;
            line.truncate(line.len() - 1);
            if line.len() > self.bytes_max {
                return Err(self.too_long());
            }
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
    }

    fn too_long(&self) -> String {
        format!("a line is longer than {} bytes", self.bytes_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_they_come_in() {
        let wire = b"{\"a\":1}\n\n\n{\"b\":2}\n";
        for cut in 0..wire.len() {
            let mut lines = Lines::new(100);
            let mut found = Vec::new();
            for part in [&wire[..cut], &wire[cut..]] {
                lines.push(part);
                while let Some(line) = lines.take().unwrap() {
                    found.push(line);
                }
            }
            assert_eq!(found, [&b"{\"a\":1}"[..], &b"{\"b\":2}"[..]], "cut at {cut}");
            assert!(lines.is_empty());
        }
    }

    #[test]
    fn a_line_has_a_limit_with_and_without_its_end() {
        for wire in [&b"12345\n"[..], &b"12345"[..]] {
            let mut lines = Lines::new(4);
            lines.push(wire);
            assert!(lines.take().is_err());
        }
        let mut lines = Lines::new(4);
        lines.push(b"1234");
        assert_eq!(lines.take().unwrap(), None);
        lines.push(b"\n");
        assert_eq!(lines.take().unwrap().unwrap(), &b"1234"[..]);
    }
}
