//! Frames over a byte stream.

use bytes::BytesMut;
use muster_api::{ExecRequest, Frame, FrameKind};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::ExecError;

const READ_BYTES: usize = 16 * 1024;

pub(super) struct FrameReader<R> {
    reader: R,
    /// Holds less than one frame more than what was read at once.
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, buffer: BytesMut::new() }
    }

    /// The next frame; `ClientGone` at the end of the stream. Can be dropped and called again without loss.
    pub(super) async fn next(&mut self) -> Result<Frame, ExecError> {
        loop {
            if let Some(frame) = Frame::decode(&mut self.buffer)? {
                return Ok(frame);
            }
            self.buffer.reserve(READ_BYTES);
            match self.reader.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(ExecError::ClientGone),
                Ok(_) => {}
                Err(error) => return Err(ExecError::Read(error)),
            }
        }
    }

    /// The first frame.
    pub(super) async fn request(&mut self) -> Result<ExecRequest, ExecError> {
        let frame = self.next().await?;
        if frame.kind != FrameKind::Request {
            return Err(ExecError::Unexpected(frame.kind));
        }
        serde_json::from_slice(&frame.payload).map_err(ExecError::Request)
    }

    pub(super) fn into_inner(self) -> R {
        self.reader
    }
}

pub(super) struct FrameWriter<W> {
    writer: W,
    wire: BytesMut,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    pub(super) fn new(writer: W) -> Self {
        Self { writer, wire: BytesMut::new() }
    }

    /// Sends a frame and sees it off. Not to be called again when it was dropped midway.
    pub(super) async fn send(&mut self, frame: &Frame) -> Result<(), ExecError> {
        self.wire.clear();
        frame.encode(&mut self.wire);
        self.writer.write_all(&self.wire).await.map_err(ExecError::Write)?;
        self.writer.flush().await.map_err(ExecError::Write)
    }

    pub(super) async fn close(&mut self) -> Result<(), ExecError> {
        self.writer.shutdown().await.map_err(ExecError::Write)
    }
}
