//! What the official files of the named data sets are: names, sizes and digests, each with where it was read, and the
//! mirrors that have them. Reads and fetches nothing.
//!
//! No digest here is this project's own. It is marked verified when the project has had the real file in hand and
//! computed it; the others are unverified until checked on the real file.

/// A digest as somebody states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stated {
    /// In lowercase hexadecimal digits.
    pub hex: &'static str,
    /// Who states it.
    pub by: &'static str,
    /// Whether it was computed from the real file by this project.
    pub verified: bool,
}

impl Stated {
    const fn new(hex: &'static str, by: &'static str) -> Self {
        Self { hex, by, verified: false }
    }

    const fn verified(hex: &'static str, by: &'static str) -> Self {
        Self { hex, by, verified: true }
    }

    /// Where the digest comes from and what it is worth, for messages.
    pub(super) fn origin(&self) -> String {
        let worth = if self.verified { "verified on the real file" } else { "never yet checked on the real file" };
        format!("read in {}, {worth}", self.by)
    }
}

/// A file as it is published.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfficialFile {
    /// Its name.
    pub name: &'static str,
    /// Its size.
    pub bytes: u64,
    /// Its MD5.
    pub md5: Stated,
    /// Its SHA-256.
    pub sha256: Stated,
    /// What lies in it: the one file inside a `.gz`, the data files inside a `.tar.gz`.
    pub holds: &'static [Content],
}

/// A file inside a published one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content {
    /// Its name.
    pub name: &'static str,
    /// Its MD5, where anybody states it.
    pub md5: Option<Stated>,
}

/// A data set as it is published.
#[derive(Debug)]
pub(super) struct OfficialSet {
    /// Its name in params and facts.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// The stage that reads it.
    pub reader: &'static str,
    /// That stage's param for files that lie in a folder already.
    pub param: &'static str,
    /// Its files. Of an IDX set: training images, training labels, test images, test labels.
    pub files: &'static [OfficialFile],
    /// Base URLs that have the files under their names.
    pub mirrors: &'static [&'static str],
}

impl OfficialSet {
    /// The names, sizes and digests of all files, a line each.
    pub(super) fn listing(&self) -> String {
        let line = |file: &OfficialFile| format!("  {}  {} bytes  md5 {}", file.name, file.bytes, file.md5.hex);
        self.files.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

const TORCHVISION: &str = "torchvision's datasets/mnist.py";
const TFDS: &str = "TensorFlow Datasets' url_checksums";
const CIFAR_PAGE: &str = "the table of versions on the authors' CIFAR page";
const FASHION_README: &str = "the README of zalandoresearch/fashion-mnist";
const DLDATASET: &str = "rai-project/dldataset's vision folder";
/// Digests of the unpacked files, which several public repositories state alike.
const SEVERAL: &str = "several public repositories alike";

const IDX_NAMES: [[&str; 2]; 4] = [
    ["train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"],
    ["train-labels-idx1-ubyte.gz", "train-labels-idx1-ubyte"],
    ["t10k-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte"],
    ["t10k-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte"],
];

/// MNIST.
pub(super) const MNIST: OfficialSet = OfficialSet {
    name: "mnist",
    title: "MNIST",
    reader: "data/mnist",
    param: "root",
    files: &[
        OfficialFile {
            name: IDX_NAMES[0][0],
            bytes: 9_912_422,
            md5: Stated::new("f68b3c2dcbeaaa9fbdd348bbdeb94873", TORCHVISION),
            sha256: Stated::new("440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", TFDS),
            holds: &[Content {
                name: IDX_NAMES[0][1],
                md5: Some(Stated::new("6bbc9ace898e44ae57da46a324031adb", SEVERAL)),
            }],
        },
        OfficialFile {
            name: IDX_NAMES[1][0],
            bytes: 28_881,
            md5: Stated::new("d53e105ee54ea40749a09fcbcd1e9432", TORCHVISION),
            sha256: Stated::new("3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", TFDS),
            holds: &[Content {
                name: IDX_NAMES[1][1],
                md5: Some(Stated::new("a25bea736e30d166cdddb491f175f624", SEVERAL)),
            }],
        },
        OfficialFile {
            name: IDX_NAMES[2][0],
            bytes: 1_648_877,
            md5: Stated::new("9fb629c4189551a2d022fa330f9573f3", TORCHVISION),
            sha256: Stated::new("8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", TFDS),
            holds: &[Content {
                name: IDX_NAMES[2][1],
                md5: Some(Stated::verified("2646ac647ad5339dbf082846283269ea", SEVERAL)),
            }],
        },
        OfficialFile {
            name: IDX_NAMES[3][0],
            bytes: 4_542,
            md5: Stated::new("ec29112dd5afa0611ce80d1b7f02629c", TORCHVISION),
            sha256: Stated::new("f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", TFDS),
            holds: &[Content {
                name: IDX_NAMES[3][1],
                md5: Some(Stated::verified("27ae3e4e09519cfbb04c329615203637", SEVERAL)),
            }],
        },
    ],
    mirrors: &["https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"],
};

/// Fashion-MNIST (Xiao, Rasul, Vollgraf).
pub(super) const FASHION_MNIST: OfficialSet = OfficialSet {
    name: "fashion_mnist",
    title: "Fashion-MNIST",
    reader: "data/fashion_mnist",
    param: "root",
    files: &[
        OfficialFile {
            name: IDX_NAMES[0][0],
            bytes: 26_421_880,
            md5: Stated::new("8d4fb7e6c68d591d4c3dfef9ec88bf0d", FASHION_README),
            sha256: Stated::new("3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", TFDS),
            holds: &[Content {
                name: IDX_NAMES[0][1],
                md5: Some(Stated::new("f4a8712d7a061bf5bd6d2ca38dc4d50a", SEVERAL)),
            }],
        },
        OfficialFile {
            name: IDX_NAMES[1][0],
            bytes: 29_515,
            md5: Stated::new("25c81989df183df01b3e8a0aad5dffbe", FASHION_README),
            sha256: Stated::new("a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", TFDS),
            holds: &[Content {
                name: IDX_NAMES[1][1],
                md5: Some(Stated::new("9018921c3c673c538a1fc5bad174d6f9", SEVERAL)),
            }],
        },
        OfficialFile {
            name: IDX_NAMES[2][0],
            bytes: 4_422_102,
            md5: Stated::new("bef4ecab320f06d8554ea6380940ec79", FASHION_README),
            sha256: Stated::new("346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", TFDS),
            holds: &[Content {
                name: IDX_NAMES[2][1],
                md5: Some(Stated::new("8181f5470baa50b63fa0f6fddb340f0a", SEVERAL)),
            }],
        },
        OfficialFile {
            name: IDX_NAMES[3][0],
            bytes: 5_148,
            md5: Stated::new("bb300cfdad3c16e7a12a480ee83cd310", FASHION_README),
            sha256: Stated::new("67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", TFDS),
            holds: &[Content {
                name: IDX_NAMES[3][1],
                md5: Some(Stated::new("15d484375f8d13e6eb1aabb0c3f46965", SEVERAL)),
            }],
        },
    ],
    mirrors: &[
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ],
};

/// Kuzushiji-MNIST (Clanuwat and others). Nobody states digests of its unpacked files or of its npz files.
pub(super) const KUZUSHIJI_MNIST: OfficialSet = OfficialSet {
    name: "kuzushiji_mnist",
    title: "Kuzushiji-MNIST",
    reader: "data/kuzushiji_mnist",
    param: "root",
    files: &[
        OfficialFile {
            name: IDX_NAMES[0][0],
            bytes: 18_165_135,
            md5: Stated::new("bdb82020997e1d708af4cf47b453dcf7", TORCHVISION),
            sha256: Stated::new("51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4", TFDS),
            holds: &[Content { name: IDX_NAMES[0][1], md5: None }],
        },
        OfficialFile {
            name: IDX_NAMES[1][0],
            bytes: 29_497,
            md5: Stated::new("e144d726b3acfaa3e44228e80efcd344", TORCHVISION),
            sha256: Stated::new("e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17", TFDS),
            holds: &[Content { name: IDX_NAMES[1][1], md5: None }],
        },
        OfficialFile {
            name: IDX_NAMES[2][0],
            bytes: 3_041_136,
            md5: Stated::new("5c965bf0a639b31b8f53240b1b52f4d7", TORCHVISION),
            sha256: Stated::new("edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5", TFDS),
            holds: &[Content { name: IDX_NAMES[2][1], md5: None }],
        },
        OfficialFile {
            name: IDX_NAMES[3][0],
            bytes: 5_120,
            md5: Stated::new("7320c461ea6c1c855c0b718fb2a4b134", TORCHVISION),
            sha256: Stated::new("20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c", TFDS),
            holds: &[Content { name: IDX_NAMES[3][1], md5: None }],
        },
    ],
    mirrors: &["http://codh.rois.ac.jp/kmnist/dataset/kmnist/"],
};

/// CIFAR-10, binary version (Krizhevsky 2009).
pub(super) const CIFAR10: OfficialSet = OfficialSet {
    name: "cifar10",
    title: "CIFAR-10",
    reader: "data/cifar10",
    param: "path",
    files: &[OfficialFile {
        name: "cifar-10-binary.tar.gz",
        bytes: 170_052_171,
        md5: Stated::new("c32a1d4ab5d03f1284b67883e8d87530", CIFAR_PAGE),
        sha256: Stated::new("c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd", TFDS),
        holds: &[
            Content { name: "data_batch_1.bin", md5: Some(Stated::new("5dd7e06a14cb22eb9f671a540d1b7c25", DLDATASET)) },
            Content { name: "data_batch_2.bin", md5: Some(Stated::new("5ea93a67294ea407fff1d09f752e9692", DLDATASET)) },
            Content { name: "data_batch_3.bin", md5: Some(Stated::new("942cd6a4bcdd0dd3c604fbe906cb4421", DLDATASET)) },
            Content { name: "data_batch_4.bin", md5: Some(Stated::new("ae636b3ba5c66a11e91e8cb52e771fcb", DLDATASET)) },
            Content { name: "data_batch_5.bin", md5: Some(Stated::new("53f37980c15c3d472c316c40844f3f0d", DLDATASET)) },
            Content { name: "test_batch.bin", md5: Some(Stated::new("803d5f7f4d78ea53de84dbe85f74fb6d", DLDATASET)) },
        ],
    }],
    mirrors: &["https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/"],
};

/// CIFAR-100, binary version (Krizhevsky 2009).
pub(super) const CIFAR100: OfficialSet = OfficialSet {
    name: "cifar100",
    title: "CIFAR-100",
    reader: "data/cifar100",
    param: "path",
    files: &[OfficialFile {
        name: "cifar-100-binary.tar.gz",
        bytes: 168_513_733,
        md5: Stated::new("03b5dce01913d631647c71ecec9e9cb8", CIFAR_PAGE),
        sha256: Stated::new("58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec", TFDS),
        holds: &[
            Content { name: "train.bin", md5: Some(Stated::new("6172c7755cfe09b2fe270c85cebc1b15", DLDATASET)) },
            Content { name: "test.bin", md5: Some(Stated::new("4499cfba6c016c1be1438163640a0898", DLDATASET)) },
        ],
    }],
    mirrors: &["https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/"],
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ALL: [&OfficialSet; 5] = [&MNIST, &FASHION_MNIST, &KUZUSHIJI_MNIST, &CIFAR10, &CIFAR100];

    #[test]
    fn every_digest_is_well_formed_and_stands_once() {
        let mut seen = BTreeSet::new();
        for file in ALL.into_iter().flat_map(|set| set.files) {
            let inner = file.holds.iter().filter_map(|content| content.md5);
            for (stated, digits) in inner.map(|md5| (md5, 32)).chain([(file.md5, 32), (file.sha256, 64)]) {
                assert_eq!(stated.hex.len(), digits, "{}: {}", file.name, stated.hex);
                assert!(stated.hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{}", stated.hex);
                assert!(seen.insert(stated.hex), "{} stands twice", stated.hex);
                assert!(!stated.by.is_empty());
            }
        }
    }

    #[test]
    fn only_what_was_computed_from_the_real_files_is_called_verified() {
        let all = ALL.into_iter().flat_map(|set| set.files.iter().map(move |file| (set.name, file)));
        let mut verified = Vec::new();
        for (set, file) in all {
            let inner = file.holds.iter().filter_map(|content| Some((content.name, content.md5?)));
            let outer = [(file.name, file.md5), (file.name, file.sha256)];
            verified.extend(inner.chain(outer).filter(|(_, s)| s.verified).map(|(name, _)| (set, name)));
        }
        assert_eq!(verified, [("mnist", "t10k-images-idx3-ubyte"), ("mnist", "t10k-labels-idx1-ubyte")]);
    }

    #[test]
    fn every_set_names_a_stage_that_has_the_param() {
        for set in ALL {
            let def = crate::find(set.reader).expect("a built-in");
            let schema = serde_json::Value::from((def.schema)());
            assert!(schema["properties"].get(set.param).is_some(), "{} has no {}", set.reader, set.param);
            assert!(def.inputs.iter().any(|port| port.name == "files"), "{}", set.reader);
            assert!(set.mirrors.iter().all(|url| url.ends_with('/') && url.starts_with("http")), "{:?}", set.mirrors);
        }
    }
}
