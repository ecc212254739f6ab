//! Runs one stage in a folder of its own. Knows nothing of any stage.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pru_flow_cache::Digest;
use pru_flow_stages::dataset::{Dataset, Pixels};
use pru_flow_stages::io::{Attempt, Input, InputFile, StageEvent, StageIo};
use serde_json::Value;

/// A finished run; its folder lives as long as this.
pub struct Done {
    folder: tempfile::TempDir,
    pub events: Vec<StageEvent>,
}

/// What a stage is run with.
pub struct Setup {
    stage: &'static str,
    params: Value,
    inputs: BTreeMap<String, Vec<Input>>,
    threads: u32,
    files: tempfile::TempDir,
    kept: Option<PathBuf>,
    cancelled: Arc<AtomicBool>,
}

impl Setup {
    pub fn new(stage: &'static str, params: Value) -> Self {
        let files = tempfile::tempdir().unwrap();
        Self { stage, params, inputs: BTreeMap::new(), threads: 1, files, kept: None, cancelled: Arc::default() }
    }

    pub fn threads(mut self, threads: u32) -> Self {
        self.threads = threads;
        self
    }

    pub fn cancelled(self) -> Self {
        self.cancelled.store(true, Ordering::Relaxed);
        self
    }

    /// Stops when `flag` says so.
    pub fn cancelled_by(mut self, flag: &Arc<AtomicBool>) -> Self {
        self.cancelled = Arc::clone(flag);
        self
    }

    /// Where attempts at one action keep what the next can go on from.
    pub fn kept(mut self, folder: &Path) -> Self {
        self.kept = Some(folder.to_owned());
        self
    }

    /// Connects an artifact that is a folder of these files.
    pub fn folder_input(mut self, port: &str, files: &[(&str, &[u8])]) -> Self {
        let file = |(name, bytes): &(&str, &[u8])| {
            let path = self.files.path().join(port).join(name);
            put(&path, bytes);
            InputFile::new(*name, Digest::of(bytes), path)
        };
        let input = Input { coordinates: Vec::new(), files: files.iter().map(file).collect() };
        self.inputs.entry(port.to_owned()).or_default().push(input);
        self
    }

    /// Connects an artifact of one file, made by a node with these coordinates.
    pub fn input(mut self, port: &str, coordinates: &[(&str, &str)], bytes: &[u8]) -> Self {
        let inputs = self.inputs.entry(port.to_owned()).or_default();
        let path = self.files.path().join(format!("{port}-{}", inputs.len()));
        std::fs::write(&path, bytes).unwrap();
        let coordinates = coordinates.iter().map(|(axis, value)| ((*axis).to_owned(), (*value).to_owned())).collect();
        inputs.push(Input { coordinates, files: vec![InputFile::new("", Digest::of(bytes), path)] });
        self
    }

    /// Connects an artifact that is planned and not there.
    pub fn planned(mut self, port: &str, coordinates: &[(&str, &str)]) -> Self {
        let coordinates = coordinates.iter().map(|(axis, value)| ((*axis).to_owned(), (*value).to_owned())).collect();
        self.inputs.entry(port.to_owned()).or_default().push(Input { coordinates, files: Vec::new() });
        self
    }

    /// Runs the stage as the engine does: params normalised and checked, sources taken from their candidates.
    pub fn run(self) -> Result<Done, String> {
        let def = pru_flow_stages::find(self.stage).expect("the stage is built in");
        let params = (def.normalise)(&self.params).map_err(|e| format!("{}: {}", e.path, e.message))?;
        let connected: Vec<&str> = self.inputs.keys().map(String::as_str).collect();
        let problems = [(def.check)(&params), (def.check_inputs)(&params, &connected)].concat();
        if let Some((field, problem)) = problems.into_iter().next() {
            return Err(format!("{field}: {problem}"));
        }
        let mut sources = BTreeMap::new();
        for source in (def.sources)(&params) {
            let found = source.candidates.iter().find(|path| path.exists());
            sources.insert(source.name.to_owned(), found.ok_or(source.hint)?.clone());
        }
        let folder = tempfile::tempdir().unwrap();
        let attempt = Attempt {
            stage: self.stage.to_owned(),
            params,
            inputs: self.inputs,
            sources,
            folder: folder.path().to_owned(),
            kept: self.kept.unwrap_or_else(|| self.files.path().join("kept")),
            device: "cpu".to_owned(),
            threads: self.threads,
            log: folder.path().join("log"),
        };
        let mut events = Vec::new();
        let mut io = StageIo::new(&attempt, self.cancelled, |event| events.push(event)).map_err(|e| e.to_string())?;
        (def.run)(&attempt.params, &mut io).map_err(|e| e.to_string())?;
        drop(io);
        for output in def.outputs {
            assert!(folder.path().join("out").join(output.name).exists(), "{} was not written", output.name);
        }
        Ok(Done { folder, events })
    }
}

impl Done {
    pub fn path(&self, output: &str) -> PathBuf {
        self.folder.path().join("out").join(output)
    }

    pub fn bytes(&self, output: &str) -> Vec<u8> {
        std::fs::read(self.path(output)).unwrap()
    }

    pub fn text(&self, output: &str) -> String {
        String::from_utf8(self.bytes(output)).unwrap()
    }

    pub fn facts(&self) -> Value {
        serde_json::from_str(&self.text("facts")).unwrap()
    }

    /// What the stage measured under this name.
    pub fn measured(&self, name: &str) -> f64 {
        let value = |event: &StageEvent| match event {
            StageEvent::Measured { name: found, value } if found == name => Some(*value),
            _ => None,
        };
        self.events.iter().find_map(value).unwrap_or_else(|| panic!("`{name}` was not measured"))
    }

    pub fn dataset(&self, output: &str) -> Dataset {
        Dataset::from_bytes(output, &self.bytes(output)).unwrap()
    }
}

/// Runs a stage without inputs and returns its error.
pub fn error_of(stage: &'static str, params: Value) -> String {
    Setup::new(stage, params).run().err().expect("the stage was to fail")
}

/// A data set whose sample `i` has the pixels `[i % 256, i / 256]` and the label `labels[i]`.
pub fn numbered(labels: Vec<i64>) -> Dataset {
    let n = labels.len();
    let pixels = (0..n).flat_map(|i| [(i % 256) as u8, (i / 256) as u8]).collect();
    Dataset { shape: [n, 1, 1, 2], pixels: Pixels::U8(pixels), labels, positions: (0..n as i64).collect() }
}

/// The bytes of a `u8` data set.
pub fn u8_pixels(data: &Dataset) -> &[u8] {
    match &data.pixels {
        Pixels::U8(bytes) => bytes,
        Pixels::F32(_) => panic!("bytes were expected"),
    }
}

/// Writes a file, with the folders above it.
pub fn put(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}
