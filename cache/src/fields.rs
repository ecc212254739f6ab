//! Reads the fields of a map strictly: each one present, of its type, and none left over.

use std::collections::BTreeMap;

use crate::canon::Value;
use crate::digest::Digest;

/// A field that is missing, unknown or of another type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the field `{field}` {problem}")]
pub struct FieldError {
    /// Its name.
    pub field: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

pub(crate) fn wrong(field: &str, problem: &'static str) -> FieldError {
    FieldError { field: field.chars().take(200).collect(), problem }
}

/// The fields of a map that are not read yet.
pub(crate) struct Fields(BTreeMap<String, Value>);

impl Fields {
    pub(crate) fn of(value: Value, what: &str) -> Result<Self, FieldError> {
        Ok(Self(map(value, what)?))
    }

    pub(crate) fn take(&mut self, field: &str) -> Result<Value, FieldError> {
        self.0.remove(field).ok_or_else(|| wrong(field, "is missing"))
    }

    pub(crate) fn take_optional(&mut self, field: &str) -> Option<Value> {
        self.0.remove(field)
    }

    /// To be called last: a field that nobody read belongs to another format.
    pub(crate) fn finish(self) -> Result<(), FieldError> {
        match self.0.into_keys().next() {
            Some(field) => Err(wrong(&field, "is not known")),
            None => Ok(()),
        }
    }
}

pub(crate) fn map(value: Value, field: &str) -> Result<BTreeMap<String, Value>, FieldError> {
    match value {
        Value::Map(map) => Ok(map),
        _ => Err(wrong(field, "is not a map")),
    }
}

pub(crate) fn list(value: Value, field: &str) -> Result<Vec<Value>, FieldError> {
    match value {
        Value::List(list) => Ok(list),
        _ => Err(wrong(field, "is not a list")),
    }
}

pub(crate) fn text(value: Value, field: &str) -> Result<String, FieldError> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err(wrong(field, "is not text")),
    }
}

pub(crate) fn bytes(value: Value, field: &str) -> Result<Vec<u8>, FieldError> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        _ => Err(wrong(field, "is not bytes")),
    }
}

pub(crate) fn boolean(value: &Value, field: &str) -> Result<bool, FieldError> {
    match value {
        Value::Bool(value) => Ok(*value),
        _ => Err(wrong(field, "is not true or false")),
    }
}

pub(crate) fn float(value: &Value, field: &str) -> Result<f64, FieldError> {
    match value {
        Value::Float(value) => Ok(*value),
        _ => Err(wrong(field, "is not a float")),
    }
}

/// A whole number from 0 up.
pub(crate) fn unsigned(value: &Value, field: &str) -> Result<u64, FieldError> {
    match value {
        Value::Int(value) => u64::try_from(*value).map_err(|_| wrong(field, "is negative")),
        Value::UInt(value) => Ok(*value),
        _ => Err(wrong(field, "is not a whole number")),
    }
}

pub(crate) fn digest(value: &Value, field: &str) -> Result<Digest, FieldError> {
    match value {
        Value::Bytes(bytes) => match <[u8; 32]>::try_from(bytes.as_slice()) {
            Ok(bytes) => Ok(Digest::from_bytes(bytes)),
            Err(_) => Err(wrong(field, "is not a digest of 32 bytes")),
        },
        _ => Err(wrong(field, "is not a digest of 32 bytes")),
    }
}

pub(crate) fn of_digest(digest: &Digest) -> Value {
    Value::Bytes(digest.as_bytes().to_vec())
}
