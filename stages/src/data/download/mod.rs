//! `data/download`: the official files of a named data set, from the first mirror that gives them.
//!
//! What it writes is decided by the digests that it demands and by nothing else: where the bytes came from enters no
//! key. Nothing is unpacked here.

mod fetch;
mod http;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::fetch::{Fetcher, Wanted};
use self::http::Timeouts;
use super::official::{self, OfficialSet};
use crate::io::StageIo;
use crate::stage::{OutputPort, Port, Stage, StageError};

/// Files of a data set, each with a size and a digest that it must have. A file that was cut off goes on where it
/// stopped, in this run or the next; one that is not what it must be is asked of the next mirror.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The data set whose official files are wanted; without it, give `files` and `mirrors`.
    #[serde(default)]
    pub dataset: Option<Published>,
    /// Other files, each with its size and digest: without a digest to demand, nothing is fetched.
    #[serde(default)]
    pub files: Option<Vec<Demanded>>,
    /// Base URLs (http or https) that have the files under their names, tried in this order. Without it, those of the
    /// data set: of `mnist` `https://ossci-datasets.s3.amazonaws.com/mnist/` and
    /// `https://storage.googleapis.com/cvdf-datasets/mnist/`; of `fashion_mnist`
    /// `http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/` and
    /// `https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/`; of `kuzushiji_mnist`
    /// `http://codh.rois.ac.jp/kmnist/dataset/kmnist/`; of `cifar10` and `cifar100` `https://www.cs.toronto.edu/~kriz/`
    /// and `https://cave.cs.toronto.edu/kriz/`. Not in the key.
    #[serde(default)]
    #[schemars(extend("x-unkeyed" = true))]
    pub mirrors: Option<Vec<String>>,
    /// Seconds to wait for a connection. Not in the key.
    #[serde(default = "connect_seconds")]
    #[schemars(extend("x-unkeyed" = true))]
    pub connect_seconds: u32,
    /// Seconds without a byte after which a connection is given up. Not in the key.
    #[serde(default = "stall_seconds")]
    #[schemars(extend("x-unkeyed" = true))]
    pub stall_seconds: u32,
    /// How often in a row a mirror may give not one byte more before the next is asked. Not in the key.
    #[serde(default = "tries")]
    #[schemars(extend("x-unkeyed" = true))]
    pub tries: u32,
}

/// A data set whose files are published with digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Published {
    /// Four files, 12 MB.
    Mnist,
    /// Four files, 31 MB.
    FashionMnist,
    /// Four files, 21 MB.
    KuzushijiMnist,
    /// The binary version, 170 MB.
    Cifar10,
    /// The binary version, 169 MB.
    Cifar100,
}

/// A file and what it must be.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Demanded {
    /// Its name, below the base URL and in the output.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256, as 64 lowercase hexadecimal digits.
    pub sha256: String,
}

fn connect_seconds() -> u32 {
    15
}

fn stall_seconds() -> u32 {
    30
}

fn tries() -> u32 {
    3
}

impl Published {
    fn set(self) -> &'static OfficialSet {
        match self {
            Self::Mnist => &official::MNIST,
            Self::FashionMnist => &official::FASHION_MNIST,
            Self::KuzushijiMnist => &official::KUZUSHIJI_MNIST,
            Self::Cifar10 => &official::CIFAR10,
            Self::Cifar100 => &official::CIFAR100,
        }
    }
}

impl Params {
    fn wanted(&self) -> Vec<Wanted> {
        let official = self.dataset.map(|dataset| dataset.set().files).unwrap_or_default().iter().map(|file| Wanted {
            name: file.name.to_owned(),
            bytes: file.bytes,
            sha256: file.sha256.hex.to_owned(),
            origin: file.sha256.origin(),
        });
        let others = self.files.iter().flatten().map(|file| Wanted {
            name: file.name.clone(),
            bytes: file.bytes,
            sha256: file.sha256.clone(),
            origin: "given in `files`".to_owned(),
        });
        official.chain(others).collect()
    }

    fn mirrors(&self) -> Vec<String> {
        match (&self.mirrors, self.dataset) {
            (Some(mirrors), _) => mirrors.clone(),
            (None, Some(dataset)) => dataset.set().mirrors.iter().map(|&mirror| mirror.to_owned()).collect(),
            (None, None) => Vec::new(),
        }
    }
}

/// See the file.
pub struct Download;

impl Stage for Download {
    type Params = Params;
    const NAME: &'static str = "data/download";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "fetches the official files of a data set and checks their sizes and digests";
    const INPUTS: &'static [Port] = &[];
    const OUTPUTS: &'static [OutputPort] =
        &[OutputPort::folder("files", "the files under their published names: the input `files` of a reader")];

    fn check(params: &Params) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        match (&params.dataset, &params.files) {
            (Some(_), Some(_)) => problems.push(("files", "give either `dataset` or `files`, not both".to_owned())),
            (None, None) => problems.push(("dataset", "needs a value, or give `files` and `mirrors`".to_owned())),
            (None, Some(files)) => {
                problems.extend(check_files(files).map(|problem| ("files", problem)));
                if params.mirrors.is_none() {
                    problems.push(("mirrors", "needs a value: of `files` no mirror is known".to_owned()));
                }
            }
            (Some(_), None) => {}
        }
        if let Some(mirrors) = &params.mirrors {
            problems.extend(check_mirrors(mirrors).map(|problem| ("mirrors", problem)));
        }
        for (name, value) in [
            ("connect_seconds", params.connect_seconds),
            ("stall_seconds", params.stall_seconds),
            ("tries", params.tries),
        ] {
            if value == 0 {
                problems.push((name, "is 0; at least 1 is needed".to_owned()));
            }
        }
        problems
    }

    fn run(params: Params, io: &mut StageIo) -> Result<(), StageError> {
        let (wanted, mirrors) = (params.wanted(), params.mirrors());
        let timeouts = Timeouts {
            connect: Duration::from_secs(params.connect_seconds.into()),
            stall: Duration::from_secs(params.stall_seconds.into()),
        };
        let place = Place::open(io)?;
        let total = wanted.iter().map(|file| file.bytes).sum();
        let mut fetcher = Fetcher::new(io, &mirrors, timeouts, params.tries, total);
        let fetched = wanted.iter().try_for_each(|file| match fetcher.fetch(file, &place.partial(&file.name))? {
            Ok(()) => Ok(()),
            Err(reasons) => Err(StageError::failed(cannot(&params, file, &reasons, place.keeps(&wanted)))),
        });
        let received = fetcher.received();
        if let Err(error) = fetched {
            if !place.keeps(&wanted) {
                place.close();
            }
            return Err(error);
        }
        io.measure("received_bytes", received as f64);
        place.hand_over(&wanted, &io.output("files"))
    }
}

fn check_files(files: &[Demanded]) -> Option<String> {
    if files.is_empty() {
        return Some("at least one file is needed".to_owned());
    }
    for (index, file) in files.iter().enumerate() {
        let name = &file.name;
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            return Some(format!("`{name}` is no file name of letters, digits, `.`, `_` and `-`"));
        }
        if files[..index].iter().any(|other| other.name == *name) {
            return Some(format!("`{name}` is named twice"));
        }
        if file.bytes == 0 {
            return Some(format!("`{name}` is to have 0 bytes"));
        }
        let digits = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if file.sha256.len() != 64 || !file.sha256.bytes().all(digits) {
            return Some(format!("the sha256 of `{name}` is not 64 lowercase hexadecimal digits"));
        }
    }
    None
}

fn check_mirrors(mirrors: &[String]) -> Option<String> {
    if mirrors.is_empty() {
        return Some("at least one is needed".to_owned());
    }
    let whole = |mirror: &&String| {
        let rest = mirror.strip_prefix("http://").or_else(|| mirror.strip_prefix("https://"));
        let plain = |c: char| c.is_ascii_graphic() && !"?#".contains(c);
        rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && rest.chars().all(plain))
    };
    let bad = mirrors.iter().find(|mirror| !whole(mirror));
    bad.map(|mirror| format!("`{mirror}` is no base URL such as `http://127.0.0.1:8000/mnist/`"))
}

/// Where files lie while they are incomplete: kept between attempts, or, while another attempt at the same action works
/// there, in this attempt's own scratch folder.
struct Place {
    folder: PathBuf,
    /// Held as long as this lives, where the folder is the kept one; a process that dies lets it go.
    lock: Option<File>,
}

impl Place {
    const LOCK: &'static str = "lock";

    fn open(io: &StageIo) -> Result<Self, StageError> {
        let kept = io.kept()?;
        // On a file system without locks two attempts could spoil each other's files: then nothing is kept.
        let lock = File::create(kept.join(Self::LOCK)).ok().filter(|lock| lock.try_lock().is_ok());
        let folder = if lock.is_some() { kept.to_owned() } else { io.scratch() };
        Ok(Self { folder, lock })
    }

    fn partial(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.part"))
    }

    /// Whether the next attempt can go on from something.
    fn keeps(&self, wanted: &[Wanted]) -> bool {
        let begun = |file: &Wanted| self.partial(&file.name).metadata().is_ok_and(|metadata| metadata.len() > 0);
        self.lock.is_some() && wanted.iter().any(begun)
    }

    /// Removes the kept folder.
    fn close(self) {
        if self.lock.is_some() {
            // What cannot be removed, or was put there meanwhile, goes when it is old.
            let _ = std::fs::remove_file(self.folder.join(Self::LOCK));
            let _ = std::fs::remove_dir(&self.folder);
        }
    }

    /// Moves the files, which are whole, to the output, and leaves nothing behind.
    fn hand_over(self, wanted: &[Wanted], output: &Path) -> Result<(), StageError> {
        std::fs::create_dir_all(output).map_err(|e| StageError::io("creating the output files", e))?;
        for file in wanted {
            let (from, to) = (self.partial(&file.name), output.join(&file.name));
            // The kept folder may lie on another file system than the attempt's.
            std::fs::rename(&from, &to)
                .or_else(|_| std::fs::copy(&from, &to).and_then(|_| std::fs::remove_file(&from)))
                .map_err(|e| StageError::io(format!("moving {} to the output", from.display()), e))?;
        }
        self.close();
        Ok(())
    }
}

/// That a file cannot be had, why, and what to do without a network.
fn cannot(params: &Params, file: &Wanted, reasons: &[String], kept: bool) -> String {
    let mut text = format!("{} cannot be fetched:\n  {}", file.name, reasons.join("\n  "));
    if let Some(set) = params.dataset.map(Published::set) {
        text.push_str(&format!(
            "\nwithout a network, put these files into a folder and give it to `{}` as `{}` in place of the input \
             `files`:\n{}",
            set.reader,
            set.param,
            set.listing()
        ));
    }
    text.push_str("\nother mirrors are named by `mirrors`");
    if kept {
        text.push_str("; what came so far is kept, and the next run goes on there");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_mirror_is_documented() {
        let schema = serde_json::Value::from(schemars::schema_for!(Params));
        let doc = schema["properties"]["mirrors"]["description"].as_str().unwrap_or_default().to_owned();
        let all = [
            Published::Mnist,
            Published::FashionMnist,
            Published::KuzushijiMnist,
            Published::Cifar10,
            Published::Cifar100,
        ];
        for published in all {
            let set = published.set();
            assert_eq!(serde_json::to_value(published).unwrap(), set.name);
            assert!(doc.contains(&format!("`{}`", set.name)), "{}", set.name);
            assert!(set.mirrors.iter().all(|mirror| doc.contains(&format!("`{mirror}`"))), "{:?}", set.mirrors);
        }
    }
}
