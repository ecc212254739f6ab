//! What the engine and a worker say to each other: frames of JSON over a socket of their own, so that nothing a stage
//! prints can be taken for a message. One `Run` at a time; the worker ends when the socket closes.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::io::{Attempt, StageEvent};
use crate::stage::StageError;

/// Identifies the code of the stages: engine and worker must be built from the same.
pub const BUILD_ID: &str = env!("PRU_FLOW_BUILD_ID");

/// Frames beyond this are refused: a message holds params and digests, never data.
const FRAME_BYTES_MAX: usize = 256 << 20;

/// From the engine to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// Run a stage.
    Run(Box<Attempt>),
    /// Stop what is running.
    Cancel,
}

/// From a worker to the engine.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromWorker {
    /// The first message.
    Hello(Hello),
    /// Something that a running stage reports.
    Event(StageEvent),
    /// The stage ended; `None` is success.
    Done(Option<Failure>),
}

/// What a worker is.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Hello {
    /// Its [`BUILD_ID`].
    pub build_id: String,
    /// The libtorch that it is linked with, as its `build-version` names it.
    pub libtorch: String,
    /// CUDA devices that it can use.
    pub cuda_devices: u32,
}

/// Why a stage did not finish.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Failure {
    /// What kind of end it was.
    pub kind: FailureKind,
    /// The reason, a sentence.
    pub message: String,
}

impl From<StageError> for Failure {
    fn from(error: StageError) -> Self {
        let kind = match error {
            StageError::Cancelled => FailureKind::Cancelled,
            StageError::Diverged(_) => FailureKind::Diverged,
            _ => FailureKind::Failed,
        };
        Self { kind, message: error.to_string() }
    }
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub enum FailureKind {
    /// The stage says so.
    Failed,
    /// A loss or a weight became NaN or infinite.
    Diverged,
    /// It was asked to stop.
    Cancelled,
    /// It panicked: the worker's state is unknown and it must not be used again.
    Panicked,
}

/// Writes one message.
///
/// # Errors
/// When the other side is gone.
pub fn send<T: Serialize>(socket: &mut impl Write, message: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let length = u32::try_from(bytes.len()).map_err(|_| io::Error::other("a message is too long"))?;
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend_from_slice(&bytes);
    socket.write_all(&frame)
}

/// Reads one message; `None` when the other side has closed the socket between two messages.
///
/// # Errors
/// When the connection breaks inside a message, or the bytes are none.
pub fn receive<T: DeserializeOwned>(socket: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match socket.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::other("a message is too long"));
    }
    let mut bytes = vec![0; length];
    socket.read_exact(&mut bytes)?;
    Ok(Some(serde_json::from_slice(&bytes)?))
}
