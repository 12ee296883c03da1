//! A running command: frames in both directions.

use bytes::BytesMut;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use muster_api::Frame;
use muster_types::NodeName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

use crate::TransportError;
use crate::connection::call_error;

const OPERATION: &str = "exec";

type Stream = TokioIo<Upgraded>;

/// Both directions. Dropping it ends the command.
pub struct ExecStream {
    sender: ExecSender,
    receiver: ExecReceiver,
}

/// To the command: stdin, window sizes, signals.
pub struct ExecSender {
    node: NodeName,
    io: WriteHalf<Stream>,
    buffer: BytesMut,
}

/// From the command: stdout, stderr, and its exit.
pub struct ExecReceiver {
    node: NodeName,
    io: ReadHalf<Stream>,
    buffer: BytesMut,
}

impl ExecStream {
    pub(crate) async fn open(node: &NodeName, response: Response<Incoming>) -> Result<Self, TransportError> {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let detail = format!("it answered {} and did not change the protocol", response.status());
            return Err(TransportError::Protocol { node: node.clone(), operation: OPERATION, detail });
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(|error| call_error(node, OPERATION, error))?;
        let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
        Ok(Self {
            sender: ExecSender { node: node.clone(), io: writer, buffer: BytesMut::new() },
            receiver: ExecReceiver { node: node.clone(), io: reader, buffer: BytesMut::new() },
        })
    }

    pub async fn send(&mut self, frame: Frame) -> Result<(), TransportError> {
        self.sender.send(frame).await
    }

    /// The next frame; `None` after the last.
    pub async fn recv(&mut self) -> Result<Option<Frame>, TransportError> {
        self.receiver.recv().await
    }

    /// Two halves for two tasks.
    pub fn split(self) -> (ExecSender, ExecReceiver) {
        (self.sender, self.receiver)
    }
}

impl ExecSender {
    /// Waits while the command does not read. A future that is lost may leave half a frame behind: then nothing more can
    /// be sent.
    pub async fn send(&mut self, frame: Frame) -> Result<(), TransportError> {
        self.buffer.clear();
        frame.encode(&mut self.buffer);
        let written = match self.io.write_all(&self.buffer).await {
            Ok(()) => self.io.flush().await,
            Err(error) => Err(error),
        };
        written.map_err(|error| closed(&self.node, error))
    }
}

impl ExecReceiver {
    /// The next frame; `None` after the last. Losing this future loses nothing.
    pub async fn recv(&mut self) -> Result<Option<Frame>, TransportError> {
        loop {
            match Frame::decode(&mut self.buffer) {
                Ok(Some(frame)) => return Ok(Some(frame)),
                Ok(None) => {}
                Err(error) => return Err(self.protocol(error.to_string())),
            }
            let read = self.io.read_buf(&mut self.buffer).await.map_err(|error| closed(&self.node, error))?;
            if read == 0 {
                let whole = self.buffer.is_empty();
                return if whole { Ok(None) } else { Err(self.protocol("its last frame is cut off".to_owned())) };
            }
        }
    }

    fn protocol(&self, detail: String) -> TransportError {
        TransportError::Protocol { node: self.node.clone(), operation: OPERATION, detail }
    }
}

fn closed(node: &NodeName, error: std::io::Error) -> TransportError {
    TransportError::Closed { node: node.clone(), operation: OPERATION, source: Some(Box::new(error)) }
}
