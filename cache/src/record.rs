//! The result of an action: which outputs it gave, what was measured, and its bytes on disk.
//!
//! A record checks itself: magic, format version, length, canonical body, digest of all before it. Decoding
//! gives either exactly what was encoded or an error that says what is wrong. Knows nothing of where records lie.
//! `FORMAT.md` states the bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::action::{Action, ActionError, ActionKey, Member};
use crate::canon::{self, CanonError, Value};
use crate::digest::Digest;
use crate::fields::{self, FieldError, Fields, wrong};
use crate::names::{self, BadName};

/// The first bytes of every record.
pub const MAGIC: [u8; 8] = *b"prurecrd";
/// The format that this code writes, and the only one that it reads.
pub const FORMAT: u32 = 1;
/// Bytes of content up to which a file lies in the record itself.
pub const INLINE_BYTES_MAX: usize = 4096;
/// Bytes of content that one record may hold in all.
pub const INLINE_TOTAL_MAX: usize = 64 * 1024;
/// Bytes that a whole record may have.
pub const RECORD_BYTES_MAX: usize = canon::BYTES_MAX;

const HEAD: usize = MAGIC.len() + 4 + 8;
const TAIL: usize = 32;

/// Who wrote a record: one id per store, and the name of the record's file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WriterId(String);

/// Text that cannot name a writer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a writer's id: 1 to 64 of a-z, 0-9 and `-`")]
pub struct NotAWriter(String);

impl WriterId {
    /// The writer of nothing, until a store has read its own id.
    pub(crate) fn unnamed() -> Self {
        Self("unnamed".to_owned())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WriterId {
    type Err = NotAWriter;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAWriter(text.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for WriterId {
    type Error = NotAWriter;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<WriterId> for String {
    fn from(writer: WriterId) -> Self {
        writer.0
    }
}

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What running an action gave.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionResult {
    /// The action's key.
    pub key: ActionKey,
    /// The action itself, so that a later one can be compared with it field by field.
    pub action: Action,
    /// The node that ran it: provenance, never part of the key.
    pub node: String,
    /// The artifacts by output.
    pub outputs: BTreeMap<String, Output>,
    /// Times, memory and the like: never part of an artifact.
    pub measurements: BTreeMap<String, f64>,
    /// Execution class, host class, code version, start and end (unix ms), as text.
    pub provenance: BTreeMap<String, String>,
    /// Who wrote the record.
    pub writer: WriterId,
    /// Content of small files, by digest. Such content need not be a blob.
    pub inline: BTreeMap<Digest, Vec<u8>>,
}

/// One artifact: a file or a folder of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Whether it is a folder.
    pub folder: bool,
    /// Its files in order of name; a single file has an empty name.
    pub files: Vec<OutputFile>,
}

/// One file of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFile {
    /// Path inside the folder, empty for a single file.
    pub name: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// How many there are.
    pub bytes: u64,
}

/// Bytes that are not a record, or a result that cannot be written as one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Other bytes at the start.
    #[error("this is not a record of pru-flow")]
    NotARecord,
    /// Written by another version.
    #[error("the record has format {0}; this version reads format {FORMAT}")]
    UnknownFormat(u32),
    /// More or fewer bytes than it says.
    #[error("the record has {found} bytes where it should have {expected}")]
    Length {
        /// Bytes by its own count.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// Larger than a record may be.
    #[error("the record would have {0} bytes, more than {RECORD_BYTES_MAX}")]
    TooLarge(u64),
    /// The digest at its end is another.
    #[error("the record's bytes are not those that were written: its digest differs")]
    Damaged,
    /// The record of another action.
    #[error("the record names the key {named}, and its action has {computed}")]
    WrongKey {
        /// The key in the record.
        named: ActionKey,
        /// The key of its action.
        computed: ActionKey,
    },
    /// The body is not a canonical value.
    #[error("the record's body: {0}")]
    Body(#[from] CanonError),
    /// A field of the body is wrong.
    #[error("the record's body: {0}")]
    Field(#[from] FieldError),
    /// The action in it has no key.
    #[error("the record's action: {0}")]
    Action(#[from] ActionError),
    /// A name leads outside its folder, or is refused for another reason.
    #[error("the output `{output}`: {problem}")]
    Name {
        /// The output.
        output: String,
        /// Why.
        problem: BadName,
    },
    /// Inline content breaks a rule.
    #[error("the inline content {digest}: {problem}")]
    Inline {
        /// Its digest.
        digest: Digest,
        /// Why.
        problem: &'static str,
    },
}

impl Output {
    /// Its files as an action's input takes them.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.files.iter().map(|f| Member { name: f.name.clone(), digest: f.digest }).collect()
    }
}

impl ActionResult {
    /// A result without outputs, measurements or provenance yet.
    ///
    /// # Errors
    /// When the action has no key.
    pub fn new(action: Action, node: impl Into<String>, writer: WriterId) -> Result<Self, ActionError> {
        Ok(Self {
            key: action.key()?,
            action,
            node: node.into(),
            outputs: BTreeMap::new(),
            measurements: BTreeMap::new(),
            provenance: BTreeMap::new(),
            writer,
            inline: BTreeMap::new(),
        })
    }

    /// The digests of the files whose content is not in the record: these must be blobs.
    #[must_use]
    pub fn blobs(&self) -> BTreeSet<Digest> {
        let all = self.outputs.values().flat_map(|output| &output.files);
        all.map(|file| file.digest).filter(|digest| !self.inline.contains_key(digest)).collect()
    }

    /// Whether `other` has the same outputs with the same bytes; the rest may differ from run to run.
    #[must_use]
    pub fn same_outputs(&self, other: &Self) -> bool {
        self.outputs == other.outputs
    }

    /// The record's bytes.
    ///
    /// # Errors
    /// When a name, number, inline content or size breaks a rule, or the key is not the action's.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        self.check()?;
        let body = canon::encode(&self.to_value()?)?;
        let size = HEAD + body.len() + TAIL;
        if size > RECORD_BYTES_MAX {
            return Err(RecordError::TooLarge(size as u64));
        }
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&body);
        let digest = Digest::of(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        Ok(bytes)
    }

    /// The result that `bytes` record.
    ///
    /// # Errors
    /// [`RecordError`]: for any bytes that [`ActionResult::encode`] would not have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let body = unwrap_body(bytes)?;
        let result = Self::from_value(canon::decode(body)?)?;
        result.check()?;
        Ok(result)
    }

    /// The rules that hold for every record, checked before one is written and after one is read.
    fn check(&self) -> Result<(), RecordError> {
        let computed = self.action.key()?;
        if computed != self.key {
            return Err(RecordError::WrongKey { named: self.key, computed });
        }
        for (name, output) in &self.outputs {
            names::check_word(name)
                .and_then(|()| names::check_files(output.folder, output.files.iter().map(|f| f.name.as_str())))
                .map_err(|problem| RecordError::Name { output: name.chars().take(200).collect(), problem })?;
        }
        self.check_inline()
    }

    fn check_inline(&self) -> Result<(), RecordError> {
        let files = || self.outputs.values().flat_map(|output| &output.files);
        let mut total = 0;
        for (digest, content) in &self.inline {
            total += content.len();
            let problem = if content.len() > INLINE_BYTES_MAX {
                "is longer than 4096 bytes"
            } else if total > INLINE_TOTAL_MAX {
                "makes more than 65536 bytes in all"
            } else if Digest::of(content) != *digest {
                "has another digest"
            } else if !files().any(|f| f.digest == *digest) {
                "belongs to no output"
            } else if files().any(|f| f.digest == *digest && f.bytes != content.len() as u64) {
                "has another length than its output"
            } else {
                continue;
            };
            return Err(RecordError::Inline { digest: *digest, problem });
        }
        Ok(())
    }

    fn to_value(&self) -> Result<Value, RecordError> {
        let outputs = self.outputs.iter().map(|(name, output)| {
            let files = output.files.iter().map(|file| {
                Value::map([
                    ("name", Value::text(&file.name)),
                    ("digest", fields::of_digest(&file.digest)),
                    ("bytes", Value::UInt(file.bytes)),
                ])
            });
            (name, Value::map([("folder", Value::Bool(output.folder)), ("files", Value::List(files.collect()))]))
        });
        let inline = self.inline.iter().map(|(digest, bytes)| (digest.to_string(), Value::Bytes(bytes.clone())));
        Ok(Value::map([
            ("key", fields::of_digest(self.key.digest())),
            ("action", self.action.to_value()?),
            ("node", Value::text(&self.node)),
            ("outputs", Value::map(outputs)),
            ("measurements", Value::map(self.measurements.iter().map(|(name, number)| (name, Value::Float(*number))))),
            ("provenance", Value::map(self.provenance.iter().map(|(name, text)| (name, Value::text(text))))),
            ("writer", Value::text(self.writer.as_str())),
            ("inline", Value::map(inline)),
        ]))
    }

    fn from_value(value: Value) -> Result<Self, RecordError> {
        let mut all = Fields::of(value, "record")?;
        let writer = fields::text(all.take("writer")?, "writer")?;
        let result = Self {
            key: ActionKey::from_digest(fields::digest(&all.take("key")?, "key")?),
            action: Action::from_value(all.take("action")?)?,
            node: fields::text(all.take("node")?, "node")?,
            outputs: fields::map(all.take("outputs")?, "outputs")?
                .into_iter()
                .map(|(name, output)| Ok((name, output_from_value(output)?)))
                .collect::<Result<_, FieldError>>()?,
            measurements: fields::map(all.take("measurements")?, "measurements")?
                .into_iter()
                .map(|(name, number)| Ok((name, fields::float(&number, "measurements")?)))
                .collect::<Result<_, FieldError>>()?,
            provenance: fields::map(all.take("provenance")?, "provenance")?
                .into_iter()
                .map(|(name, text)| Ok((name, fields::text(text, "provenance")?)))
                .collect::<Result<_, FieldError>>()?,
            writer: writer.parse().map_err(|_| wrong("writer", "is not a writer's id"))?,
            inline: fields::map(all.take("inline")?, "inline")?
                .into_iter()
                .map(|(digest, content)| {
                    let digest = digest.parse().map_err(|_| wrong("inline", "is not named by digests"))?;
                    Ok((digest, fields::bytes(content, "inline")?))
                })
                .collect::<Result<_, FieldError>>()?,
        };
        all.finish()?;
        Ok(result)
    }
}

fn output_from_value(value: Value) -> Result<Output, FieldError> {
    let mut all = Fields::of(value, "outputs")?;
    let folder = fields::boolean(&all.take("folder")?, "folder")?;
    let mut files = Vec::new();
    for file in fields::list(all.take("files")?, "files")? {
        let mut one = Fields::of(file, "files")?;
        files.push(OutputFile {
            name: fields::text(one.take("name")?, "name")?,
            digest: fields::digest(&one.take("digest")?, "digest")?,
            bytes: fields::unsigned(&one.take("bytes")?, "bytes")?,
        });
        one.finish()?;
    }
    all.finish()?;
    Ok(Output { folder, files })
}

/// Checks all that surrounds the body and returns it.
fn unwrap_body(bytes: &[u8]) -> Result<&[u8], RecordError> {
    let found = bytes.len() as u64;
    if !bytes.starts_with(&MAGIC) {
        // A record cut inside its magic is still told apart from a stranger's file.
        let cut = MAGIC.starts_with(bytes);
        return Err(if cut {
            RecordError::Length { expected: (HEAD + TAIL) as u64, found }
        } else {
            RecordError::NotARecord
        });
    }
    let cut = RecordError::Length { expected: (HEAD + TAIL) as u64, found };
    let format = bytes.get(8..12).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes).ok_or_else(|| cut.clone())?;
    if format != FORMAT {
        return Err(RecordError::UnknownFormat(format));
    }
    let body = bytes.get(12..20).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes).ok_or(cut)?;
    let expected = body.saturating_add((HEAD + TAIL) as u64);
    if expected > RECORD_BYTES_MAX as u64 {
        return Err(RecordError::TooLarge(expected));
    }
    if expected != found {
        return Err(RecordError::Length { expected, found });
    }
    let (before, digest) = bytes.split_at(bytes.len() - TAIL);
    if Digest::of(before).as_bytes() != digest {
        return Err(RecordError::Damaged);
    }
    Ok(&before[HEAD..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result() -> ActionResult {
        let action = Action {
            stage: "evaluate".into(),
            version: 1,
            toolchain: BTreeMap::new(),
            params: Value::map([("class", Value::Int(3))]),
            sources: BTreeMap::new(),
            inputs: BTreeMap::new(),
        };
        let mut result = ActionResult::new(action, "evaluate[class=3]", "w".parse().unwrap()).unwrap();
        let small = b"{}".to_vec();
        let file = |name: &str, digest, bytes| OutputFile { name: name.into(), digest, bytes };
        result.outputs.insert("metrics".into(), Output { folder: false, files: vec![file("", Digest::of(&small), 2)] });
        result.outputs.insert(
            "plots".into(),
            Output {
                folder: true,
                files: vec![file("a.png", Digest::of(b"a"), 9000), file("b/c.png", Digest::of(b"c"), 1)],
            },
        );
        result.inline.insert(Digest::of(&small), small);
        result.measurements.insert("wall_seconds".into(), 1.5);
        result.provenance.insert("execution".into(), "cpu".into());
        result
    }

    /// A record whose outer shell is right around any body: what a hostile writer can make.
    fn shell(body: &Value) -> Vec<u8> {
        let body = canon::encode(body).unwrap();
        let mut bytes = [&MAGIC[..], &FORMAT.to_le_bytes(), &(body.len() as u64).to_le_bytes(), &body].concat();
        let digest = Digest::of(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        bytes
    }

    fn tampered(change: impl FnOnce(&mut BTreeMap<String, Value>)) -> Result<ActionResult, RecordError> {
        let Value::Map(mut map) = result().to_value().unwrap() else { panic!("a record is a map") };
        change(&mut map);
        ActionResult::decode(&shell(&Value::Map(map)))
    }

    #[test]
    fn a_record_comes_back_equal() {
        assert_eq!(ActionResult::decode(&result().encode().unwrap()).unwrap(), result());
        assert_eq!(tampered(|_| {}).unwrap(), result());
        assert_eq!(result().blobs(), BTreeSet::from([Digest::of(b"a"), Digest::of(b"c")]));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_detected() {
        let bytes = result().encode().unwrap();
        for at in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            assert!(ActionResult::decode(&damaged).is_err(), "bit {at}");
        }
        for length in 0..bytes.len() {
            assert!(ActionResult::decode(&bytes[..length]).is_err(), "cut to {length}");
        }
        assert!(ActionResult::decode(&[&bytes[..], &[0]].concat()).is_err());
        assert!(ActionResult::decode(&vec![0; bytes.len()]).is_err());
    }

    #[test]
    fn each_damage_has_its_own_message() {
        let bytes = result().encode().unwrap();
        let mut newer = bytes.clone();
        newer[8] = 2;
        assert_eq!(ActionResult::decode(&newer), Err(RecordError::UnknownFormat(2)));
        assert_eq!(ActionResult::decode(b"hello, I am a text"), Err(RecordError::NotARecord));
        assert!(matches!(ActionResult::decode(&bytes[..bytes.len() - 1]), Err(RecordError::Length { .. })));
        assert!(matches!(ActionResult::decode(&bytes[..5]), Err(RecordError::Length { .. })));
        let mut flipped = bytes.clone();
        flipped[40] ^= 1;
        assert_eq!(ActionResult::decode(&flipped), Err(RecordError::Damaged));
        let mut huge = bytes;
        huge[12..20].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(ActionResult::decode(&huge), Err(RecordError::TooLarge(u64::MAX)));
    }

    #[test]
    fn a_record_of_another_action_is_refused() {
        let other = Digest::of(b"other");
        let error = tampered(|map| _ = map.insert("key".into(), fields::of_digest(&other))).unwrap_err();
        assert!(matches!(error, RecordError::WrongKey { named, .. } if *named.digest() == other));
        let mut wrong = result();
        wrong.key = ActionKey::from_digest(other);
        assert!(matches!(wrong.encode(), Err(RecordError::WrongKey { .. })));
    }

    #[test]
    fn names_in_a_hostile_record_cannot_escape() {
        let output = |folder: bool, names: &[&str]| {
            let files = names.iter().map(|name| {
                Value::map([
                    ("name", Value::text(*name)),
                    ("digest", fields::of_digest(&Digest::of(b"x"))),
                    ("bytes", Value::Int(1)),
                ])
            });
            Value::map([("folder", Value::Bool(folder)), ("files", Value::List(files.collect()))])
        };
        let cases: &[(&str, bool, &[&str])] = &[
            ("plots", true, &["../x"]),
            ("plots", true, &["/etc/passwd"]),
            ("plots", true, &["a/../../b"]),
            ("plots", true, &["a\\b"]),
            ("plots", true, &["a\0b"]),
            ("plots", true, &["a//b"]),
            ("plots", true, &["./a"]),
            ("plots", true, &["a", "a"]),
            ("plots", true, &["a", "a/b"]),
            ("plots", true, &["b", "a"]),
            ("plots", true, &[""]),
            ("plots", false, &["a"]),
            ("plots", false, &[]),
            ("..", false, &[""]),
            ("a/b", false, &[""]),
            ("", false, &[""]),
        ];
        for (port, folder, names) in cases {
            let outcome = tampered(|map| {
                map.insert("outputs".into(), Value::map([(*port, output(*folder, names))]));
                map.insert("inline".into(), Value::map::<&str>([]));
            });
            assert!(matches!(outcome, Err(RecordError::Name { .. })), "{port} {names:?}: {outcome:?}");
        }
    }

    #[test]
    fn inline_content_is_small_named_and_of_its_digest() {
        let big = vec![7; INLINE_BYTES_MAX + 1];
        let entries = [
            (Digest::of(b"{}").to_string(), b"[]".to_vec(), "another digest"),
            (Digest::of(b"stranger").to_string(), b"stranger".to_vec(), "no output"),
            (Digest::of(&big).to_string(), big, "4096"),
        ];
        for (digest, content, reason) in entries {
            let error = tampered(|map| _ = map.insert("inline".into(), Value::map([(digest, Value::Bytes(content))])));
            let error = error.unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let mut long = result();
        long.outputs.get_mut("metrics").unwrap().files[0].bytes = 3;
        assert!(long.encode().unwrap_err().to_string().contains("another length"));
    }

    #[test]
    fn a_field_too_many_too_few_or_of_another_type_is_refused() {
        let names = ["key", "action", "node", "outputs", "measurements", "provenance", "writer", "inline"];
        for name in names {
            assert!(matches!(tampered(|map| _ = map.remove(name)), Err(RecordError::Field(_))), "{name} missing");
            let outcome = tampered(|map| _ = map.insert(name.into(), Value::Bool(true)));
            assert!(outcome.is_err(), "{name} of another type");
        }
        assert!(tampered(|map| _ = map.insert("more".into(), Value::Null)).is_err());
        let mut nan = result();
        nan.measurements.insert("loss".into(), f64::NAN);
        assert_eq!(nan.encode(), Err(RecordError::Body(CanonError::NotFinite)));
    }

    #[test]
    fn a_writer_is_a_plain_word() {
        assert!("0a1b-x".parse::<WriterId>().is_ok());
        for bad in ["", "..", "a/b", "A", "a.sig", &"a".repeat(65)] {
            assert!(bad.parse::<WriterId>().is_err(), "{bad}");
        }
    }
}
