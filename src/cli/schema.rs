//! `pru-flow schema`: the JSON Schema of pipelines, for editors.

use super::{DONE, print};
use crate::schema;

pub(super) const EXAMPLES: &str = "\
Examples:
  pru-flow schema > schema.json
and as the first line of a pipeline, for editors with the YAML language server:
  # yaml-language-server: $schema=schema.json";

pub(super) fn schema() -> u8 {
    print(schema::text().as_bytes());
    DONE
}
