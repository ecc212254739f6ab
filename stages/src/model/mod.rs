//! Networks: what they consist of ([`architecture`], and a file each: [`allcnn`], [`resnet`], [`vit`]), which images they
//! take ([`view`]), their weights as a file ([`state`]), how weights begin ([`init`]), `model/import`, and, with
//! libtorch, the network that computes ([`network`]).

pub mod allcnn;
pub mod architecture;
pub mod combine;
pub mod import;
pub mod init;
pub mod resnet;
pub mod state;
pub mod view;
pub mod vit;

#[cfg(feature = "torch")]
mod layers;
#[cfg(feature = "torch")]
pub mod network;
#[cfg(feature = "torch")]
pub mod precision;
