//! `resources:` of a stage as written -> what its nodes draw on, and where they run. None of it enters a key.

use crate::graph::{Described, Device};
use crate::pipeline::StageSpec;
use crate::problem::{Problem, Problems, did_you_mean};
use crate::template::Scope;
use crate::yaml::{Node, Value};

/// Reads a stage's `resources:` into what is described, and gives where it is to run. A resource of another name is
/// whatever the user limits by it.
#[must_use]
pub fn read(spec: &StageSpec, scope: &Scope<'_>, described: &mut Described, problems: &mut Problems) -> Device {
    let resources = &mut described.resources;
    let mut device = Device::Auto;
    let Some(node) = &spec.resources else { return device };
    let filled = scope.fill(node, problems);
    let Value::Map(entries) = &filled.value else { return device };
    let known = ["cpus", "memory", "gpus", "gpu_memory", "exclusive", "device"];
    for (key, value) in entries {
        let result = match (key.text.as_str(), &value.value) {
            (name, Value::Wrong) if known.contains(&name) => Ok(()),
            ("cpus", Value::Int(n)) if *n >= 1 => {
                u32::try_from(*n).map(|n| resources.cpus = n).map_err(|e| e.to_string())
            }
            ("cpus", _) => Err("`cpus` is a whole number from 1".to_owned()),
            ("gpus", Value::Int(n)) if *n >= 0 => {
                u32::try_from(*n).map(|n| resources.gpus = n).map_err(|e| e.to_string())
            }
            ("gpus", _) => Err("`gpus` is a whole number from 0".to_owned()),
            ("memory", _) => parse_bytes(value).map(|bytes| resources.memory_bytes = bytes),
            ("gpu_memory", _) => parse_bytes(value).map(|bytes| resources.gpu_memory_bytes = bytes),
            ("exclusive", Value::Bool(yes)) => {
                resources.exclusive = *yes;
                Ok(())
            }
            ("exclusive", _) => Err("`exclusive` is true or false".to_owned()),
            ("device", _) => value.scalar_text().unwrap_or_default().parse().map(|parsed| device = parsed),
            (_, Value::Wrong) => Ok(()),
            (other, value) => match (did_you_mean(other, known), value) {
                (None, Value::Int(n)) if (0..=i64::from(u32::MAX)).contains(n) => {
                    described.named.insert(other.to_owned(), *n as u32);
                    Ok(())
                }
                (None, _) => Err(format!("`{other}`, a resource of your own, is a whole number from 0")),
                (help, _) => {
                    let problem = Problem::new(format!("unknown resource `{other}`"), key.span);
                    problems.push(problem.maybe_help(help));
                    Ok(())
                }
            },
        };
        if let Err(message) = result {
            problems.push(value.problem(message).help(format!("resources: {{{}}}", example(&key.text))));
        }
    }
    device
}

/// How a resource is written.
fn example(resource: &str) -> &str {
    match resource {
        "cpus" => "cpus: 2",
        "gpus" => "gpus: 1",
        "memory" => "memory: 4GiB",
        "gpu_memory" => "gpu_memory: 4GiB",
        "exclusive" => "exclusive: true",
        "device" => "device: cpu",
        _ => "database: 1",
    }
}

/// Bytes from `512MB`, `4GiB` or a plain number.
fn parse_bytes(node: &Node) -> Result<u64, String> {
    let text = node.scalar_text().unwrap_or_default();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("`{text}` is no amount of memory: write `512MiB` or `4GB`")),
    };
    let wrong = || format!("`{text}` is no amount of memory: write `512MiB` or `4GB`");
    let bytes = number.parse::<f64>().map_err(|_| wrong())? * factor;
    // More than any machine has, and more than a float counts exactly.
    if bytes < 9e15 { Ok(bytes as u64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Span;

    #[test]
    fn amounts_of_memory_are_read_with_their_units() {
        let read = |text: &str| parse_bytes(&Node::new(Value::Text(text.to_owned()), Span::file(0, 0)));
        for (text, bytes) in
            [("512", 512), ("4GB", 4_000_000_000), ("1.5 KiB", 1536), ("2MiB", 2 << 20), ("3 kB", 3000)]
        {
            assert_eq!(read(text), Ok(bytes), "{text}");
        }
        for bad in ["", "GB", "4 XB", "-1", "1.2.3GB", "1e9", "99999999999999GiB"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
