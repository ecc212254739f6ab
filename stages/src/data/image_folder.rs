//! `data/image_folder`: JPEG and PNG files sorted into folders by class, or a tar of such folders.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::decode::{Picture, decode};
use super::facts::{self, Facts};
use super::listing::{Member, list};
use super::{MAX_CLASSES, in_file_order, on_threads, write_train_and_test};
use crate::dataset::{Dataset, Pixels};
use crate::io::{Progress, StageIo};
use crate::stage::{OutputPort, Port, Resources, Source, SourcePath, Stage, StageError, Tool};

/// Files decoded between two looks at whether to stop.
const CHUNK: usize = 1024;
/// Bad files that a message names before it only counts them.
const NAMED: usize = 10;

/// Reads `train/<class>/*.jpg|jpeg|png` and `test/<class>/...` in order of their paths. Files outside `train` and
/// `test` and hidden files are left out; links are refused, as are images that are damaged or of another size.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The folder that holds `train` and `test`, or a tar or tar.gz of it.
    pub path: SourcePath,
    /// Height and width that every image must have, in pixels; without it, those of the first training image.
    #[serde(default)]
    pub size: Option<[u32; 2]>,
    /// 3 for colour, 1 for grey (colours weighted as ITU-R BT.601 does; an alpha channel is dropped).
    #[serde(default = "colour")]
    pub channels: u32,
    /// Every class folder's name, in the order of the labels; without it, the names sorted by their bytes.
    #[serde(default)]
    pub classes: Option<Vec<String>>,
}

fn colour() -> u32 {
    3
}

/// See the file.
pub struct ImageFolder;

impl Stage for ImageFolder {
    type Params = Params;
    const NAME: &'static str = "data/image_folder";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "reads JPEG and PNG files in class folders, or a tar of them";
    const TOOLCHAIN: &'static [Tool] = &[Tool::ImageDecoder];
    const INPUTS: &'static [Port] = &[];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort::file("train", "train.safetensors", "training set: u8 images [N, C, H, W] and labels"),
        OutputPort::file("test", "test.safetensors", "test set, in the same form"),
        OutputPort::file("classes", "classes.json", "the class names in the order of the labels"),
        facts::OUTPUT,
    ];

    fn check(params: &Params) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if !matches!(params.channels, 1 | 3) {
            problems.push(("channels", format!("{} is neither 1 nor 3", params.channels)));
        }
        if params.size.is_some_and(|size| size.contains(&0)) {
            problems.push(("size", "height and width must be at least 1".to_owned()));
        }
        if let Some(classes) = &params.classes {
            let mut seen = BTreeSet::new();
            if let Some(twice) = classes.iter().find(|class| !seen.insert(*class)) {
                problems.push(("classes", format!("`{twice}` is named twice")));
            }
        }
        problems
    }

    fn sources(params: &Params) -> Vec<Source> {
        vec![Source {
            name: "path",
            candidates: vec![params.path.0.clone()],
            hint: "a folder with train/<class>/*.jpg and test/<class>/*.jpg (or .png), or a tar of it".to_owned(),
        }]
    }

    fn resources(_: &Params) -> Resources {
        Resources { cpus: 2, ..Resources::default() }
    }

    fn run(params: Params, io: &mut StageIo) -> Result<(), StageError> {
        let source = io.source("path")?;
        let name = source.display().to_string();
        let members = list(source)?;
        let classes = order_classes(&name, &members, params.classes.as_deref())?;
        let pictures = decode_all(io, &members)?;
        let (height, width) = expected_size(&name, params.size, &members, &pictures)?;
        refuse_bad(&name, &members, &pictures, (height, width))?;
        let channels = params.channels as usize;
        let part = |part: &str| -> Dataset {
            let (mut bytes, mut labels) = (Vec::new(), Vec::new());
            for (member, picture) in members.iter().zip(pictures.iter().flatten()).filter(|(m, _)| m.part == part) {
                bytes.extend(picture.planes(channels));
                labels.push(classes[&member.class]);
            }
            in_file_order([labels.len(), channels, height, width], Pixels::U8(bytes), labels)
        };
        let (train, test) = (part("train"), part("test"));
        Facts::unpublished("image_folder", &train, &test, classes.len()).write(io)?;
        write_train_and_test(io, &train, &test)?;
        io.write("classes", &classes_json(&classes))
    }
}

/// The label of every class folder.
fn order_classes(
    source: &str,
    members: &[Member],
    wanted: Option<&[String]>,
) -> Result<BTreeMap<String, i64>, StageError> {
    let bad = |problem: String| Err(StageError::input(source, problem));
    let of_part = |part| -> BTreeSet<&str> {
        members.iter().filter(|member| member.part == part).map(|member| member.class.as_str()).collect()
    };
    let (train, test) = (of_part("train"), of_part("test"));
    for (part, classes) in [("train", &train), ("test", &test)] {
        if classes.is_empty() {
            return bad(format!("no image in {part}/<class>/; .jpg, .jpeg or .png files were expected there"));
        }
    }
    if let Some(class) = test.difference(&train).next() {
        return bad(format!("test/{class} holds images, but there are none in train/{class}"));
    }
    if train.len() as i64 > MAX_CLASSES {
        return bad(format!("{} classes; at most {MAX_CLASSES} were expected", train.len()));
    }
    let order: Vec<&str> = match wanted {
        None => train.iter().copied().collect(),
        Some(wanted) => {
            let named: BTreeSet<&str> = wanted.iter().map(String::as_str).collect();
            if let Some(class) = named.difference(&train).next() {
                return bad(format!("`classes` names `{class}`, but there is no image in train/{class}"));
            }
            if let Some(class) = train.difference(&named).next() {
                return bad(format!("`classes` does not name the folder train/{class}"));
            }
            wanted.iter().map(String::as_str).collect()
        }
    };
    Ok(order.into_iter().zip(0..).map(|(class, label)| (class.to_owned(), label)).collect())
}

fn classes_json(classes: &BTreeMap<String, i64>) -> Vec<u8> {
    let mut names: Vec<(&String, &i64)> = classes.iter().collect();
    names.sort_by_key(|(_, label)| **label);
    let names: Vec<&String> = names.into_iter().map(|(name, _)| name).collect();
    let mut text = serde_json::json!({ "classes": names }).to_string();
    text.push('\n');
    text.into_bytes()
}

/// Decodes every file; what is wrong with one does not stop the rest, so that all can be named at once.
fn decode_all(io: &mut StageIo, members: &[Member]) -> Result<Vec<Result<Picture, String>>, StageError> {
    let mut pictures = Vec::with_capacity(members.len());
    for chunk in members.chunks(CHUNK) {
        io.check_cancelled()?;
        let decoded: Vec<Result<Picture, String>> =
            on_threads(io, || chunk.par_iter().map(|member| member.read().and_then(|bytes| decode(&bytes))).collect())?;
        pictures.extend(decoded);
        io.progress(Progress {
            unit: "file".to_owned(),
            done: pictures.len() as u64,
            total: members.len() as u64,
            ..Progress::default()
        });
    }
    Ok(pictures)
}

fn expected_size(
    source: &str,
    wanted: Option<[u32; 2]>,
    members: &[Member],
    pictures: &[Result<Picture, String>],
) -> Result<(usize, usize), StageError> {
    if let Some([height, width]) = wanted {
        return Ok((height as usize, width as usize));
    }
    let mut train = members.iter().zip(pictures).filter(|(member, _)| member.part == "train");
    if let Some(first) = train.find_map(|(_, picture)| picture.as_ref().ok()) {
        return Ok((first.height, first.width));
    }
    let reason = pictures.iter().find_map(|picture| picture.as_ref().err()).map_or("", String::as_str);
    Err(StageError::input(source, format!("no image of train/ can be decoded; the first: {reason}")))
}

fn refuse_bad(
    source: &str,
    members: &[Member],
    pictures: &[Result<Picture, String>],
    (height, width): (usize, usize),
) -> Result<(), StageError> {
    let bad: Vec<String> = members
        .iter()
        .zip(pictures)
        .filter_map(|(member, picture)| match picture {
            Err(problem) => Some(format!("{}: {problem}", member.path)),
            Ok(found) if (found.height, found.width) != (height, width) => Some(format!(
                "{}: {} x {} pixels, {height} x {width} was expected",
                member.path, found.height, found.width
            )),
            Ok(_) => None,
        })
        .collect();
    if bad.is_empty() {
        return Ok(());
    }
    let more = bad.len().saturating_sub(NAMED);
    let named = bad[..bad.len() - more].join("\n  ");
    let rest = if more == 0 { String::new() } else { format!("\n  and {more} more") };
    let problem = format!("{} of {} images cannot be used:\n  {named}{rest}", bad.len(), members.len());
    Err(StageError::input(source, problem))
}
