//! How long the owner waits for an agent, and how much it takes from one.

use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Limits {
    pub connect: Duration,
    pub handshake: Duration,
    /// From the last byte of a request to the head of the answer.
    pub answer: Duration,
    /// A stream without a byte for this long is dead: agents send a blank line every ten seconds.
    pub silence: Duration,
    /// One line of a stream.
    pub line_bytes: usize,
    /// The whole of an answer that is no stream.
    pub reply_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(5),
            answer: Duration::from_secs(20),
            silence: Duration::from_secs(45),
            line_bytes: 1024 * 1024,
            reply_bytes: 4 * 1024 * 1024,
        }
    }
}
