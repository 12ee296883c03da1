//! Frames of an exec stream: kind (1 byte), length (4 bytes, big endian), payload.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Longest payload; longer data is sent as several frames.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;

const HEADER_BYTES: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// `ExecRequest` as JSON; the first frame to the agent.
    Request = 0,
    Stdin = 1,
    StdinClosed = 2,
    /// An empty one is a sign of life and means nothing else.
    Stdout = 3,
    Stderr = 4,
    /// `WindowSize` as JSON.
    Resize = 5,
    /// A signal number in decimal.
    Signal = 6,
    /// `ExecExit` as JSON; the last frame from the agent.
    Exit = 7,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: FrameKind,
    pub payload: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("frame of unknown kind {0}")]
    Kind(u8),
    #[error("frame of {0} bytes is longer than {FRAME_BYTES_MAX}")]
    TooLong(usize),
}

impl Frame {
    /// Panics on a payload over the limit: senders split.
    pub fn new(kind: FrameKind, payload: impl Into<Bytes>) -> Self {
        let payload = payload.into();
        assert!(payload.len() <= FRAME_BYTES_MAX, "frame payload over the limit");
        Self { kind, payload }
    }

    pub fn encode(&self, buffer: &mut BytesMut) {
        buffer.reserve(HEADER_BYTES + self.payload.len());
        buffer.put_u8(self.kind as u8);
        buffer.put_u32(u32::try_from(self.payload.len()).expect("checked in new"));
        buffer.put_slice(&self.payload);
    }

    /// Takes one frame off the buffer; `None` until all of it is there.
    pub fn decode(buffer: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        if buffer.len() < HEADER_BYTES {
            return Ok(None);
        }
        let kind = match buffer[0] {
            0 => FrameKind::Request,
            1 => FrameKind::Stdin,
            2 => FrameKind::StdinClosed,
            3 => FrameKind::Stdout,
            4 => FrameKind::Stderr,
            5 => FrameKind::Resize,
            6 => FrameKind::Signal,
            7 => FrameKind::Exit,
            other => return Err(FrameError::Kind(other)),
        };
        let length = u32::from_be_bytes([buffer[1], buffer[2], buffer[3], buffer[4]]) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(FrameError::TooLong(length));
        }
        if buffer.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        buffer.advance(HEADER_BYTES);
        Ok(Some(Self { kind, payload: buffer.split_to(length).freeze() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_survives_any_split() {
        let mut wire = BytesMut::new();
        Frame::new(FrameKind::Stdout, "hello").encode(&mut wire);
        Frame::new(FrameKind::Exit, "{}").encode(&mut wire);
        for cut in 0..wire.len() {
            let mut buffer = BytesMut::from(&wire[..cut]);
            let mut frames = Vec::new();
            while let Some(frame) = Frame::decode(&mut buffer).unwrap() {
                frames.push(frame);
            }
            buffer.extend_from_slice(&wire[cut..]);
            while let Some(frame) = Frame::decode(&mut buffer).unwrap() {
                frames.push(frame);
            }
            assert_eq!(frames.len(), 2, "cut at {cut}");
            assert_eq!(&frames[0].payload[..], b"hello");
        }
    }

    #[test]
    fn lengths_and_kinds_are_checked() {
        assert_eq!(Frame::decode(&mut BytesMut::from(&[9, 0, 0, 0, 0][..])), Err(FrameError::Kind(9)));
        let long = BytesMut::from(&[3, 0xff, 0, 0, 0][..]);
        assert!(matches!(Frame::decode(&mut long.clone()), Err(FrameError::TooLong(_))));
    }
}
