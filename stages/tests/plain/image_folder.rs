//! `data/image_folder` on folders and archives made here.

use std::io::Write;
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use serde_json::{Value, json};

use crate::attempt::{Done, Setup, put, u8_pixels};

const STAGE: &str = "data/image_folder";

fn png(pixels: &[u8], height: u32, width: u32) -> Vec<u8> {
    let color = if pixels.len() as u32 == height * width { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes).write_image(pixels, width, height, color).unwrap();
    bytes
}

fn jpeg(grey: u8, height: u32, width: u32) -> Vec<u8> {
    let pixels = vec![grey; (height * width * 3) as usize];
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 95).write_image(&pixels, width, height, ExtendedColorType::Rgb8).unwrap();
    bytes
}

/// Two classes, JPEG and PNG, in no particular order.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("train/dog/2.png", png(&[20; 8 * 8], 8, 8)),
        ("train/dog/10.JPG", jpeg(10, 8, 8)),
        ("train/cat/1.jpeg", jpeg(200, 8, 8)),
        ("test/dog/1.png", png(&[50; 8 * 8 * 3], 8, 8)),
        ("test/cat/1.png", png(&[60; 8 * 8], 8, 8)),
        ("train/.DS_Store", b"junk".to_vec()),
        ("README.txt", b"not an image".to_vec()),
    ]
}

fn folder_of(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        put(&folder.path().join(path), bytes);
    }
    folder
}

fn tar_of(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A tar of one entry whose name or kind the library itself would not write.
fn hostile_tar(name: &str, kind: tar::EntryType) -> Vec<u8> {
    let mut header = tar::Header::new_old();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(0);
    header.set_entry_type(kind);
    if kind.is_symlink() || kind.is_hard_link() {
        header.set_link_name("../../../etc/passwd").unwrap();
    }
    header.set_cksum();
    let mut builder = tar::Builder::new(tar_of(&files())[..1024].to_vec());
    builder.append(&header, &b""[..]).unwrap();
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn run(path: &Path, more: &Value) -> Result<Done, String> {
    let mut params = json!({ "path": path });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Setup::new(STAGE, params).threads(2).run()
}

fn archive(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("images.tar");
    put(&path, bytes);
    (folder, path)
}

fn archive_error(bytes: &[u8]) -> String {
    let (_folder, path) = archive(bytes);
    run(&path, &json!({})).err().expect("a refusal")
}

#[test]
fn folder_tar_and_gzipped_tar_give_the_same_bytes_in_order_of_paths() {
    let folder = folder_of(&files());
    let from_folder = run(folder.path(), &json!({"channels": 1})).unwrap();
    let train = from_folder.dataset("train");
    // cat before dog; 10.JPG before 2.png.
    assert_eq!((train.shape, &train.labels[..]), ([3, 1, 8, 8], &[0, 1, 1][..]));
    let firsts: Vec<u8> = u8_pixels(&train).chunks_exact(64).map(|image| image[0]).collect();
    assert!(firsts[0].abs_diff(200) <= 2 && firsts[1].abs_diff(10) <= 2 && firsts[2] == 20, "{firsts:?}");
    assert_eq!(from_folder.text("classes"), "{\"classes\":[\"cat\",\"dog\"]}\n");
    let tar = tar_of(&files());
    for bytes in [gzip(&tar), tar] {
        let (_folder, path) = archive(&bytes);
        let from_tar = run(&path, &json!({"channels": 1})).unwrap();
        for output in ["train", "test", "classes"] {
            assert_eq!(from_tar.bytes(output), from_folder.bytes(output), "{output}");
        }
    }
}

#[test]
fn colour_has_three_planes_and_classes_can_be_ordered() {
    let folder = folder_of(&files());
    let done = run(folder.path(), &json!({"classes": ["dog", "cat"]})).unwrap();
    let train = done.dataset("train");
    assert_eq!((train.shape, &train.labels[..]), ([3, 3, 8, 8], &[1, 0, 0][..]));
    assert_eq!(done.text("classes"), "{\"classes\":[\"dog\",\"cat\"]}\n");
    let test = done.dataset("test");
    assert_eq!(test.labels, [1, 0]);
    assert_eq!(u8_pixels(&test)[..192], [60; 192]);
}

#[test]
fn every_bad_image_is_named_with_its_problem() {
    let mut files = files();
    let whole = jpeg(77, 8, 8);
    files.push(("train/cat/cut.jpg", whole[..whole.len() - 40].to_vec()));
    files.push(("train/cat/empty.jpg", Vec::new()));
    files.push(("test/cat/wide.png", png(&[1; 8 * 9], 8, 9)));
    let error = run(folder_of(&files).path(), &json!({})).err().unwrap();
    assert!(error.contains("3 of 8 images cannot be used"), "{error}");
    assert!(error.contains("test/cat/wide.png: 8 x 9 pixels, 8 x 8 was expected"), "{error}");
    assert!(error.contains("train/cat/cut.jpg: corrupt JPEG"), "{error}");
    assert!(error.contains("train/cat/empty.jpg: the file is empty"), "{error}");
}

#[test]
fn beyond_ten_bad_images_the_rest_is_counted() {
    let mut files = files();
    let names: Vec<String> = (0..13).map(|i| format!("train/cat/bad-{i:02}.png")).collect();
    files.extend(names.iter().map(|name| (name.as_str(), b"no image".to_vec())));
    let error = run(folder_of(&files).path(), &json!({})).err().unwrap();
    assert!(error.contains("bad-09.png") && !error.contains("bad-10.png") && error.ends_with("and 3 more"), "{error}");
}

#[test]
fn a_given_size_is_what_images_are_held_to() {
    let error = run(folder_of(&files()).path(), &json!({"size": [4, 8]})).err().unwrap();
    assert!(error.contains("5 of 5 images") && error.contains("8 x 8 pixels, 4 x 8 was expected"), "{error}");
}

#[test]
fn archives_that_reach_outside_or_hold_links_are_refused() {
    let regular = tar::EntryType::Regular;
    for name in ["../train/cat/1.png", "train/../../cat/1.png", "/train/cat/1.png"] {
        let error = archive_error(&hostile_tar(name, regular));
        assert!(error.contains("leads out of the archive"), "{name}: {error}");
    }
    for kind in [tar::EntryType::Symlink, tar::EntryType::Link] {
        let error = archive_error(&hostile_tar("train/cat/9.png", kind));
        assert!(error.contains("train/cat/9.png is a link"), "{error}");
    }
    let error = archive_error(&hostile_tar("train/cat/9.png", tar::EntryType::Fifo));
    assert!(error.contains("neither a file nor a folder"), "{error}");
}

#[cfg(unix)]
#[test]
fn links_inside_a_folder_are_refused() {
    let folder = folder_of(&files());
    std::os::unix::fs::symlink("1.jpeg", folder.path().join("train/cat/link.jpg")).unwrap();
    let error = run(folder.path(), &json!({})).err().unwrap();
    assert!(error.contains("train/cat/link.jpg: a link"), "{error}");
}

#[test]
fn damaged_archives_are_refused() {
    let tar = tar_of(&files());
    let last_image = tar.len() - 1024 - 3 * 1024;
    for length in [100, 700, 2000, last_image] {
        let error = archive_error(&tar[..length]);
        assert!(error.contains("cut off") || error.contains("no image"), "{length}: {error}");
    }
    let zipped = gzip(&tar);
    assert!(archive_error(&zipped[..zipped.len() / 2]).contains("cut off"));
    assert!(archive_error(&[b'x'; 4096]).contains("not a readable tar"));
    let mut twice = files();
    twice.push(("train/cat/1.jpeg", jpeg(1, 8, 8)));
    assert!(archive_error(&tar_of(&twice)).contains("train/cat/1.jpeg occurs twice"));
}

#[test]
fn a_layout_that_is_not_classes_in_train_and_test_is_refused() {
    let error_for = |files: &[(&str, Vec<u8>)], params: Value| run(folder_of(files).path(), &params).err().unwrap();
    let image = || png(&[1; 4], 2, 2);
    assert!(error_for(&[("cat/1.png", image())], json!({})).contains("no image in train/<class>/"));
    assert!(error_for(&[("train/cat/1.png", image())], json!({})).contains("no image in test/<class>/"));
    assert!(error_for(&[("train/1.png", image())], json!({})).contains("train/<class>/<file> was expected"));
    assert!(error_for(&[("train/cat/x/1.png", image())], json!({})).contains("train/<class>/<file> was expected"));
    assert!(error_for(&[("train/cat/1.gif", image())], json!({})).contains("is no .jpg, .jpeg or .png"));
    let strange = [("train/cat/1.png", image()), ("test/cow/1.png", image())];
    assert!(error_for(&strange, json!({})).contains("test/cow holds images, but there are none in train/cow"));
    let named = |classes| error_for(&files(), json!({ "classes": classes }));
    assert!(named(["cat", "cow"]).contains("`classes` names `cow`"));
    assert!(named(["cat", "cat"]).contains("`cat` is named twice"));
    assert!(error_for(&files(), json!({"classes": ["cat"]})).contains("does not name the folder train/dog"));
    assert!(error_for(&files(), json!({"channels": 2})).starts_with("channels: 2 is neither 1 nor 3"));
}
