//! Values and their one encoding: the bytes that keys are computed from and that records consist of.
//!
//! Equal values have equal bytes and unequal values unequal ones; [`decode`] accepts nothing that
//! [`encode`] would not have written. Knows nothing of actions, records or files.
//! `FORMAT.md` lists the tags.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Levels of lists and maps that a value may have.
pub const DEPTH_MAX: usize = 64;
/// Values (each entry of a list or map counts) that one encoding may hold.
pub const COUNT_MAX: usize = 4_000_000;
/// Bytes that one encoding may have.
pub const BYTES_MAX: usize = 64 * 1024 * 1024;

const NULL: u8 = 0x00;
const FALSE: u8 = 0x01;
const TRUE: u8 = 0x02;
const INT: u8 = 0x03;
const UINT: u8 = 0x04;
const FLOAT: u8 = 0x05;
const TEXT: u8 = 0x06;
const BYTES: u8 = 0x07;
const LIST: u8 = 0x08;
const MAP: u8 = 0x09;

/// A value with a type: `1`, `1.0`, `"1"` and `true` all differ.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number up to `i64::MAX`.
    Int(i64),
    /// A whole number above `i64::MAX`; a smaller one is encoded as [`Value::Int`].
    UInt(u64),
    /// A finite number; `-0.0` is encoded as `0.0`, NaN and the infinities are refused.
    Float(f64),
    /// UTF-8 text, not normalised.
    Text(String),
    /// Bytes, such as a digest.
    Bytes(Vec<u8>),
    /// Values in an order that matters.
    List(Vec<Value>),
    /// Values by name, in order of the names' bytes.
    Map(BTreeMap<String, Value>),
}

/// A value that has no encoding, or bytes that are not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CanonError {
    /// NaN or an infinity.
    #[error("a number is not finite (NaN or infinity)")]
    NotFinite,
    /// More levels than [`DEPTH_MAX`].
    #[error("lists and maps are nested more than {DEPTH_MAX} levels deep")]
    TooDeep,
    /// More values than [`COUNT_MAX`].
    #[error("there are more than {COUNT_MAX} values")]
    TooMany,
    /// More bytes than [`BYTES_MAX`].
    #[error("the encoding is longer than {BYTES_MAX} bytes")]
    TooLarge,
    /// The bytes end inside a value.
    #[error("the bytes end at {at}, inside a value")]
    Truncated {
        /// Offset of the value's part that is cut.
        at: usize,
    },
    /// Bytes that the encoder would not have written.
    #[error("byte {at}: {problem}")]
    NotCanonical {
        /// Offset.
        at: usize,
        /// What is wrong there.
        problem: &'static str,
    },
}

impl Value {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A map from its entries.
    pub fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Map(entries.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    /// The value that a JSON value stands for. A number with a fraction or exponent stays a float
    /// (`1.0` is not `1`): whoever knows the type normalises before.
    ///
    /// # Errors
    /// When it is nested too deeply.
    pub fn from_json(json: &serde_json::Value) -> Result<Self, CanonError> {
        from_json(json, 0)
    }

    /// The JSON value that stands for this one; bytes become hexadecimal text.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => Json::from(*value),
            Self::UInt(value) => Json::from(*value),
            Self::Float(value) => Json::from(*value),
            Self::Text(value) => Json::from(value.as_str()),
            Self::Bytes(value) => Json::from(hex(value)),
            Self::List(values) => Json::Array(values.iter().map(Self::to_json).collect()),
            Self::Map(values) => {
                Json::Object(values.iter().map(|(name, value)| (name.clone(), value.to_json())).collect())
            }
        }
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
    }
    text
}

fn from_json(json: &serde_json::Value, depth: usize) -> Result<Value, CanonError> {
    use serde_json::Value as Json;
    if depth > DEPTH_MAX {
        return Err(CanonError::TooDeep);
    }
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => {
            if let Some(value) = number.as_i64() {
                Value::Int(value)
            } else if let Some(value) = number.as_u64() {
                Value::UInt(value)
            } else {
                Value::Float(number.as_f64().filter(|f| f.is_finite()).ok_or(CanonError::NotFinite)?)
            }
        }
        Json::String(value) => Value::Text(value.clone()),
        Json::Array(values) => {
            Value::List(values.iter().map(|value| from_json(value, depth + 1)).collect::<Result<_, _>>()?)
        }
        Json::Object(values) => Value::Map(
            values
                .iter()
                .map(|(name, value)| Ok((name.clone(), from_json(value, depth + 1)?)))
                .collect::<Result<_, CanonError>>()?,
        ),
    })
}

/// The bytes of `value`.
///
/// # Errors
/// When a number is not finite, or a ceiling is passed.
pub fn encode(value: &Value) -> Result<Vec<u8>, CanonError> {
    let mut encoder = Encoder { bytes: Vec::new(), count: 0 };
    encoder.value(value, 0)?;
    Ok(encoder.bytes)
}

struct Encoder {
    bytes: Vec<u8>,
    count: usize,
}

impl Encoder {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), CanonError> {
        if depth > DEPTH_MAX {
            return Err(CanonError::TooDeep);
        }
        self.count += 1;
        if self.count > COUNT_MAX {
            return Err(CanonError::TooMany);
        }
        match value {
            Value::Null => self.bytes.push(NULL),
            Value::Bool(value) => self.bytes.push(if *value { TRUE } else { FALSE }),
            Value::Int(value) => self.fixed(INT, value.to_le_bytes()),
            Value::UInt(value) => match i64::try_from(*value) {
                Ok(small) => self.fixed(INT, small.to_le_bytes()),
                Err(_) => self.fixed(UINT, value.to_le_bytes()),
            },
            Value::Float(value) => {
                if !value.is_finite() {
                    return Err(CanonError::NotFinite);
                }
                // Adding zero turns -0.0 into 0.0 and changes nothing else.
                self.fixed(FLOAT, (value + 0.0).to_bits().to_le_bytes());
            }
            Value::Text(value) => {
                self.bytes.push(TEXT);
                self.run(value.as_bytes())?;
            }
            Value::Bytes(value) => {
                self.bytes.push(BYTES);
                self.run(value)?;
            }
            Value::List(values) => {
                self.fixed(LIST, (values.len() as u64).to_le_bytes());
                for value in values {
                    self.value(value, depth + 1)?;
                }
            }
            Value::Map(values) => {
                self.fixed(MAP, (values.len() as u64).to_le_bytes());
                for (name, value) in values {
                    self.run(name.as_bytes())?;
                    self.value(value, depth + 1)?;
                }
            }
        }
        self.check_size(0)
    }

    fn fixed(&mut self, tag: u8, bytes: [u8; 8]) {
        self.bytes.push(tag);
        self.bytes.extend_from_slice(&bytes);
    }

    fn run(&mut self, bytes: &[u8]) -> Result<(), CanonError> {
        self.check_size(bytes.len())?;
        self.bytes.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn check_size(&self, more: usize) -> Result<(), CanonError> {
        if self.bytes.len().saturating_add(more) > BYTES_MAX { Err(CanonError::TooLarge) } else { Ok(()) }
    }
}

/// The value that `bytes` encode, all of them.
///
/// # Errors
/// When they are not exactly what [`encode`] writes for some value, or a ceiling is passed.
pub fn decode(bytes: &[u8]) -> Result<Value, CanonError> {
    if bytes.len() > BYTES_MAX {
        return Err(CanonError::TooLarge);
    }
    let mut decoder = Decoder { bytes, at: 0, count: 0 };
    let value = decoder.value(0)?;
    if decoder.at != bytes.len() {
        return Err(CanonError::NotCanonical { at: decoder.at, problem: "there are bytes after the value" });
    }
    Ok(value)
}

struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    count: usize,
}

impl<'a> Decoder<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, CanonError> {
        if depth > DEPTH_MAX {
            return Err(CanonError::TooDeep);
        }
        self.count += 1;
        if self.count > COUNT_MAX {
            return Err(CanonError::TooMany);
        }
        let start = self.at;
        let tag = self.take(1)?[0];
        Ok(match tag {
            NULL => Value::Null,
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            INT => Value::Int(i64::from_le_bytes(self.fixed()?)),
            UINT => {
                let value = u64::from_le_bytes(self.fixed()?);
                if i64::try_from(value).is_ok() {
                    return Err(refuse(start, "a number that fits a signed one is written as unsigned"));
                }
                Value::UInt(value)
            }
            FLOAT => {
                let value = f64::from_bits(u64::from_le_bytes(self.fixed()?));
                if !value.is_finite() {
                    return Err(CanonError::NotFinite);
                }
                if value == 0.0 && value.is_sign_negative() {
                    return Err(refuse(start, "minus zero"));
                }
                Value::Float(value)
            }
            TEXT => Value::Text(self.text()?.to_owned()),
            BYTES => Value::Bytes(self.run()?.to_vec()),
            LIST => {
                let count = self.length(1)?;
                let mut values = Vec::with_capacity(count.min(1024));
                for _ in 0..count {
                    values.push(self.value(depth + 1)?);
                }
                Value::List(values)
            }
            MAP => self.map(depth)?,
            _ => return Err(refuse(start, "no type has this tag")),
        })
    }

    fn map(&mut self, depth: usize) -> Result<Value, CanonError> {
        // An entry takes at least the name's length and a tag.
        let count = self.length(9)?;
        let mut values = BTreeMap::new();
        let mut last: Option<&str> = None;
        for _ in 0..count {
            let at = self.at;
            let name = self.text()?;
            if last.is_some_and(|last| last >= name) {
                return Err(refuse(at, "the names of a map are not in strictly ascending order"));
            }
            last = Some(name);
            values.insert(name.to_owned(), self.value(depth + 1)?);
        }
        Ok(Value::Map(values))
    }

    /// A count of things that take at least `least` bytes each: one that the rest cannot hold is refused at once.
    fn length(&mut self, least: usize) -> Result<usize, CanonError> {
        let at = self.at;
        let rest = (self.bytes.len() - at).saturating_sub(8) / least;
        let length = u64::from_le_bytes(self.fixed()?);
        usize::try_from(length).ok().filter(|l| *l <= rest).ok_or(CanonError::Truncated { at })
    }

    fn run(&mut self) -> Result<&'a [u8], CanonError> {
        let length = self.length(1)?;
        self.take(length)
    }

    fn text(&mut self) -> Result<&'a str, CanonError> {
        let at = self.at;
        std::str::from_utf8(self.run()?).map_err(|_| refuse(at, "text is not UTF-8"))
    }

    fn fixed(&mut self) -> Result<[u8; 8], CanonError> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        Ok(bytes)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], CanonError> {
        let taken = self.bytes[self.at..].get(..count).ok_or(CanonError::Truncated { at: self.at })?;
        self.at += count;
        Ok(taken)
    }
}

fn refuse(at: usize, problem: &'static str) -> CanonError {
    CanonError::NotCanonical { at, problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            (i64::MAX as u64 + 1..=u64::MAX).prop_map(Value::UInt),
            any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| Value::Float(f + 0.0)),
            ".{0,8}".prop_map(Value::Text),
            prop::collection::vec(any::<u8>(), 0..8).prop_map(Value::Bytes),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::List),
                prop::collection::btree_map(".{0,4}", inner, 0..5).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn decoding_gives_back_what_was_encoded(value in any_value()) {
            let bytes = encode(&value).unwrap();
            prop_assert_eq!(decode(&bytes).unwrap(), value);
        }

        #[test]
        fn different_values_have_different_bytes(a in any_value(), b in any_value()) {
            prop_assert_eq!(a == b, encode(&a).unwrap() == encode(&b).unwrap());
        }

        #[test]
        fn whatever_decodes_encodes_to_the_same_bytes(bytes in prop::collection::vec(0u8..12, 0..40)) {
            if let Ok(value) = decode(&bytes) {
                prop_assert_eq!(encode(&value).unwrap(), bytes);
            }
        }

        #[test]
        fn a_changed_byte_is_another_value_or_refused(value in any_value(), at in any::<usize>(), bit in 0u8..8) {
            let mut bytes = encode(&value).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(other) = decode(&bytes) {
                prop_assert_ne!(&other, &value);
                prop_assert_eq!(encode(&other).unwrap(), bytes);
            }
        }
    }

    #[test]
    fn types_do_not_run_into_each_other() {
        let ones = [
            Value::Int(1),
            Value::Float(1.0),
            Value::text("1"),
            Value::Bool(true),
            Value::Bytes(b"1".to_vec()),
            Value::List(vec![Value::Int(1)]),
            Value::map([("1", Value::Null)]),
        ];
        for (i, a) in ones.iter().enumerate() {
            for (j, b) in ones.iter().enumerate() {
                assert_eq!(i == j, encode(a).unwrap() == encode(b).unwrap(), "{a:?} {b:?}");
            }
        }
        assert_eq!(encode(&Value::Float(-0.0)), encode(&Value::Float(0.0)));
        assert_eq!(encode(&Value::UInt(7)), encode(&Value::Int(7)));
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(encode(&Value::Float(bad)), Err(CanonError::NotFinite));
        }
    }

    #[test]
    fn bytes_that_the_encoder_would_not_write_are_refused() {
        let with = |tag: u8, rest: &[u8]| [&[tag], rest].concat();
        let one = 1u64.to_le_bytes();
        let swapped = [&[MAP][..], &2u64.to_le_bytes(), &one, b"b", &[NULL], &one, b"a", &[NULL]].concat();
        let twice = [&[MAP][..], &2u64.to_le_bytes(), &one, b"a", &[NULL], &one, b"a", &[NULL]].concat();
        for (bytes, why) in [
            (vec![], "empty"),
            (vec![0x0a], "unknown tag"),
            (vec![NULL, NULL], "trailing"),
            (with(UINT, &one), "small unsigned"),
            (with(FLOAT, &(-0.0f64).to_bits().to_le_bytes()), "minus zero"),
            (with(FLOAT, &f64::NAN.to_bits().to_le_bytes()), "NaN"),
            (with(INT, &one[..7]), "cut"),
            (with(TEXT, &[&one[..], &[0xff]].concat()), "not UTF-8"),
            (with(TEXT, &u64::MAX.to_le_bytes()), "huge length"),
            (with(LIST, &u64::MAX.to_le_bytes()), "huge count"),
            (swapped, "order"),
            (twice, "duplicate"),
        ] {
            assert!(decode(&bytes).is_err(), "{why}");
        }
    }

    #[test]
    fn ceilings_hold_on_both_sides() {
        let nested = |levels: usize| (0..levels).fold(Value::Null, |inner, _| Value::List(vec![inner]));
        assert!(decode(&encode(&nested(DEPTH_MAX)).unwrap()).is_ok());
        assert_eq!(encode(&nested(DEPTH_MAX + 1)), Err(CanonError::TooDeep));
        let mut deep = Vec::new();
        for _ in 0..100_000 {
            deep.push(LIST);
            deep.extend_from_slice(&1u64.to_le_bytes());
        }
        deep.push(NULL);
        assert_eq!(decode(&deep), Err(CanonError::TooDeep));
        assert_eq!(encode(&Value::Bytes(vec![0; BYTES_MAX + 1])), Err(CanonError::TooLarge));
        let many = [&[LIST][..], &(COUNT_MAX as u64).to_le_bytes(), &vec![NULL; COUNT_MAX]].concat();
        assert_eq!(decode(&many), Err(CanonError::TooMany));
    }

    #[test]
    fn json_keeps_the_types_of_its_numbers() {
        let json: serde_json::Value =
            serde_json::from_str(r#"{"a":1,"b":1.0,"c":18446744073709551615,"d":[null,true,"x"],"e":-3}"#).unwrap();
        let value = Value::from_json(&json).unwrap();
        let Value::Map(map) = &value else { panic!("an object is a map") };
        assert_eq!(map["a"], Value::Int(1));
        assert_eq!(map["b"], Value::Float(1.0));
        assert_eq!(map["c"], Value::UInt(u64::MAX));
        assert_eq!(value.to_json(), json);
        assert_eq!(Value::Bytes(vec![1, 0xab]).to_json(), serde_json::json!("01ab"));
    }
}
