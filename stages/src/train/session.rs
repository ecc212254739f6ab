//! The one way into libtorch: every stage body on tensors begins with [`torch_session`].
//!
//! Sets the number of threads and finds the device. libtorch's own random numbers are never used (its seed is global
//! to the process): everything random comes from [`crate::rng`].

use tch::Device;

use crate::io::StageIo;
use crate::model::network::Network;
use crate::model::state::StateDict;
use crate::stage::StageError;
use crate::train::params::{Normalise, Precision};

/// Prepares libtorch for this stage and gives the device to compute on.
///
/// # Errors
/// When a CUDA device is asked for that is not there, or the device's name is not understood.
pub fn torch_session(io: &StageIo) -> Result<Device, StageError> {
    tch::set_num_threads(i32::try_from(io.threads().max(1)).unwrap_or(i32::MAX));
    let name = io.device();
    if name == "cpu" {
        return Ok(Device::Cpu);
    }
    let index = match name {
        "cuda" => Some(0),
        _ => name.strip_prefix("cuda:").and_then(|i| i.parse::<usize>().ok()),
    };
    let index =
        index.ok_or_else(|| StageError::failed(format!("the device `{name}` is not known: cpu or cuda:<i>")))?;
    let count = tch::Cuda::device_count().max(0) as usize;
    if index >= count {
        return Err(StageError::failed(format!(
            "the device `{name}` is not there: libtorch sees {count} CUDA device(s)"
        )));
    }
    Ok(Device::Cuda(index))
}

/// Reads the state dict of an input port.
///
/// # Errors
/// When the artifact is damaged.
pub fn read_state(io: &StageIo, port: &str) -> Result<StateDict, StageError> {
    StateDict::from_bytes(&io.input(port)?.read()?).map_err(|problem| StageError::input(port, problem))
}

/// The network of a state dict, on this stage's device; `port` is used in errors.
///
/// # Errors
/// When it is no model of this program, or the device is not there.
pub fn network_of(
    io: &StageIo,
    port: &str,
    state: &StateDict,
    precision: Precision,
    normalise: Option<&Normalise>,
) -> Result<Network, StageError> {
    Network::from_state(port, state, precision, normalise, torch_session(io)?)
}

/// Reads the network of an input port.
///
/// # Errors
/// When the artifact is damaged or no model of this program.
pub fn load_network(
    io: &StageIo,
    port: &str,
    precision: Precision,
    normalise: Option<&Normalise>,
) -> Result<Network, StageError> {
    network_of(io, port, &read_state(io, port)?, precision, normalise)
}

/// Reads the network of an input port in the precision that its file stores: for measuring.
///
/// # Errors
/// As [`load_network`].
pub fn load_exact(io: &StageIo, port: &str, normalise: Option<&Normalise>) -> Result<Network, StageError> {
    let state = read_state(io, port)?;
    let double = state.tensors.values().any(|t| t.dtype == safetensors::tensor::Dtype::F64);
    network_of(io, port, &state, if double { Precision::F64 } else { Precision::F32 }, normalise)
}

/// Refuses a class to be forgotten that the network does not have.
///
/// # Errors
/// As said.
pub fn expect_class(network: &Network, forget_class: u32) -> Result<(), StageError> {
    let classes = network.architecture().classes;
    if forget_class < classes {
        return Ok(());
    }
    Err(StageError::failed(format!("forget_class is {forget_class}; the network has {classes} classes")))
}

/// Writes the network to the output `model`.
///
/// # Errors
/// When a weight or statistic is NaN or infinite (the last step of a training is seen by no loss), or writing fails.
pub fn save_network(io: &StageIo, network: &Network) -> Result<(), StageError> {
    let state = network.to_state()?;
    if let Some(name) = state.not_finite() {
        return Err(StageError::diverged(format!("`{name}` became NaN or infinite in training")));
    }
    io.write("model", &state.to_bytes()?)
}
