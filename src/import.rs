//! `import:`: reads the files that a pipeline names, and those that these name in turn. What an import gives to the
//! params of its file is applied in `overrides`; names are put together in `expand`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::pipeline::{Import, Pipeline};
use crate::problem::{Problem, Problems, SourceFile, SourceText, Span, TextId};
use crate::yaml::Value;

/// More files than this are not one pipeline; files that import each other twice double at every step.
const FILES_MAX: usize = 64;

/// Reads a file of a pipeline, whose name is `shown`, into `source`. `None` when it is no text, which is told.
///
/// # Errors
/// The operating system's reason.
pub fn read_file(
    path: &Path,
    shown: String,
    source: &mut SourceText,
    problems: &mut Problems,
) -> std::io::Result<Option<TextId>> {
    let bytes = std::fs::read(path)?;
    let id = TextId::File(source.files.len());
    let (text, read) = match String::from_utf8(bytes) {
        Ok(text) => (text, Some(id)),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let place = Span::new(id, at, at + char::REPLACEMENT_CHARACTER.len_utf8());
            let problem = Problem::new("the file is not UTF-8", place);
            problems.push(problem.label("no character").help("save the file as UTF-8"));
            // Each bad byte is shown as one replacement character, so the place stays the same.
            (String::from_utf8_lossy(error.as_bytes()).into_owned(), None)
        }
    };
    source.files.push(SourceFile { name: shown, text });
    Ok(read)
}

/// Reads all that `pipeline`, whose file is `file`, imports.
pub fn load(pipeline: &mut Pipeline, file: &Path, source: &mut SourceText, problems: &mut Problems) {
    let open = std::fs::canonicalize(file).into_iter().collect();
    Loader { source, problems, open }.load(pipeline, file);
}

struct Loader<'a> {
    source: &'a mut SourceText,
    problems: &'a mut Problems,
    /// Files that are being read, each imported by the one before it.
    open: Vec<PathBuf>,
}

impl Loader<'_> {
    fn load(&mut self, pipeline: &mut Pipeline, file: &Path) {
        for import in &mut pipeline.imports {
            import.pipeline = self.read(import, file);
        }
    }

    fn read(&mut self, import: &Import, importer: &Path) -> Option<Pipeline> {
        let Value::Text(name) = &import.file.value else { return None };
        let path = importer.parent().unwrap_or(Path::new("")).join(name);
        let canonical = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        if let Some(at) = self.open.iter().position(|file| *file == canonical) {
            let names = self.open[at..].iter().chain([&canonical]);
            let names: Vec<String> = names.map(|file| file_name(file)).collect();
            let message = format!("the files import each other in a circle: {}", names.join(" -> "));
            let problem = Problem::new(message, import.file.span);
            self.problems.push(problem.help("remove one of these imports"));
            return None;
        }
        if self.source.files.len() >= FILES_MAX {
            let message = format!("more than {FILES_MAX} files are imported");
            let problem = Problem::new(message, import.file.span);
            self.problems.push(problem.help("import a file once, and use its stages from there"));
            return None;
        }
        let id = match read_file(&path, path.display().to_string(), self.source, self.problems) {
            Ok(id) => id?,
            Err(error) => {
                let reason = match error.kind() {
                    ErrorKind::NotFound => "there is no such file".to_owned(),
                    _ => error.to_string(),
                };
                let problem = Problem::new(format!("cannot import `{name}`: {reason}"), import.file.span);
                let folder = match importer.parent() {
                    Some(folder) if !folder.as_os_str().is_empty() => format!(" (`{}`)", folder.display()),
                    _ => String::new(),
                };
                self.problems.push(problem.help(format!("its path starts in the folder of this file{folder}")));
                return None;
            }
        };
        let text = self.source.files.last().map(|file| file.text.clone()).unwrap_or_default();
        let mut pipeline = Pipeline::read(&text, id, self.problems)?;
        self.open.push(canonical);
        self.load(&mut pipeline, &path);
        self.open.pop();
        Some(pipeline)
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
