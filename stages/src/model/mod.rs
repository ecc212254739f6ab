//! Networks: what they consist of ([`architecture`]), their weights as a file ([`state`]), how weights begin
//! ([`init`]), `model/import`, and, with libtorch, the network that computes ([`network`]).

pub mod architecture;
pub mod combine;
pub mod import;
pub mod init;
pub mod state;

#[cfg(feature = "torch")]
pub mod network;
#[cfg(feature = "torch")]
pub mod precision;
