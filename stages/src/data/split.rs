//! `data/split`: takes a data set apart as the public PRU repository does (training, validation and request part),
//! each part as a folder with one file a class, so that a stage can be given some classes and not others.

use safetensors::tensor::{Dtype, SafeTensorError, TensorView};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MAX_CLASSES;
use super::numpy::shuffled;
use crate::dataset::Dataset;
use crate::io::StageIo;
use crate::stage::{OutputPort, Port, Stage, StageError, class_member};

/// Shuffles the samples as numpy does and cuts off the request part, then the validation part.
///
/// With N samples, request fraction q and validation fraction v the parts are: training, the first
/// `int(int(N * (1 - q)) * (1 - v))` of the shuffled samples; validation, up to `int(N * (1 - q))`; request, the rest.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// What `np.random.seed` is given; the published trials 0 to 4 are 7 to 11.
    pub seed: u32,
    /// The part kept for later requests and for relearning.
    #[serde(default = "fifth")]
    pub request_fraction: f64,
    /// The part of what is left that serves as validation.
    #[serde(default = "fifth")]
    pub validation_fraction: f64,
}

fn fifth() -> f64 {
    0.2
}

/// See the file.
pub struct Split;

impl Stage for Split {
    type Params = Params;
    const NAME: &'static str = "data/split";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str =
        "splits a data set into train, validation and request, by the protocol of the PRU paper";
    const INPUTS: &'static [Port] = &[Port::one("data", "the data set, usually a training set")];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort::folder("train", "training part, one file a class"),
        OutputPort::folder("validation", "validation part, one file a class"),
        OutputPort::folder("request", "request part, one file a class"),
        OutputPort::file("indices", "indices.safetensors", "rows of `data` in each part, in order (i64)"),
    ];

    fn check(params: &Params) -> Vec<(&'static str, String)> {
        let fractions =
            [("request_fraction", params.request_fraction), ("validation_fraction", params.validation_fraction)];
        fractions
            .into_iter()
            .filter(|(_, fraction)| !(0.0..1.0).contains(fraction))
            .map(|(field, fraction)| (field, format!("{fraction} is not at least 0 and below 1")))
            .collect()
    }

    fn run(params: Params, io: &mut StageIo) -> Result<(), StageError> {
        let data = Dataset::from_input("data", io.input("data")?)?;
        let classes = count_classes(&data)?;
        let parts = Parts::of(&params, data.len())?;
        for (name, rows) in parts.named() {
            io.check_cancelled()?;
            write_by_class(io, name, &data, rows, classes)?;
        }
        io.write("indices", &parts.to_bytes()?)
    }
}

/// Rows of the data set in each part, in the order of the split.
struct Parts {
    train: Vec<usize>,
    validation: Vec<usize>,
    request: Vec<usize>,
}

impl Parts {
    fn of(params: &Params, samples: usize) -> Result<Self, StageError> {
        let n = u32::try_from(samples).map_err(|_| {
            StageError::input("data", format!("{samples} samples are more than numpy shuffles by 32 bits"))
        })?;
        let order: Vec<usize> = shuffled(params.seed, n).into_iter().map(|row| row as usize).collect();
        let (rest, request) = order.split_at(keep(samples, params.request_fraction));
        let (train, validation) = rest.split_at(keep(rest.len(), params.validation_fraction));
        Ok(Self { train: train.to_vec(), validation: validation.to_vec(), request: request.to_vec() })
    }

    fn named(&self) -> [(&'static str, &[usize]); 3] {
        [("train", &self.train), ("validation", &self.validation), ("request", &self.request)]
    }

    fn to_bytes(&self) -> Result<Vec<u8>, StageError> {
        let columns = self.named().map(|(name, rows)| {
            (name, rows.len(), rows.iter().flat_map(|&row| (row as i64).to_le_bytes()).collect::<Vec<u8>>())
        });
        columns
            .iter()
            .map(|(name, rows, bytes)| Ok((*name, TensorView::new(Dtype::I64, vec![*rows], bytes)?)))
            .collect::<Result<Vec<_>, SafeTensorError>>()
            .and_then(|views| safetensors::serialize(views, None))
            .map_err(|e| StageError::failed(format!("writing the indices of a split: {e}")))
    }
}

/// `int(n * (1 - fraction))` in Python's arithmetic: doubles, then cut towards zero.
fn keep(n: usize, fraction: f64) -> usize {
    (n as f64 * (1.0 - fraction)) as usize
}

/// One more than the highest label.
fn count_classes(data: &Dataset) -> Result<u32, StageError> {
    let highest =
        data.labels.iter().copied().max().ok_or_else(|| StageError::input("data", "the data set has no sample"))?;
    if highest >= MAX_CLASSES {
        let problem = format!("label {highest} is beyond the {MAX_CLASSES} classes that a data set may have");
        return Err(StageError::input("data", problem));
    }
    Ok(highest as u32 + 1)
}

/// Writes a file for every class, an empty one where the part has no sample of it: a stage that may not see a class
/// and one that finds none of it stay two different things.
fn write_by_class(io: &StageIo, part: &str, data: &Dataset, rows: &[usize], classes: u32) -> Result<(), StageError> {
    for class in 0..classes {
        let of_class = |place: &usize| data.labels[rows[*place]] == i64::from(class);
        let places: Vec<usize> = (0..rows.len()).filter(of_class).collect();
        let mut members = data.select(&places.iter().map(|&place| rows[place]).collect::<Vec<_>>());
        members.positions = places.iter().map(|&place| place as i64).collect();
        io.write_member(part, &class_member(class), &members.to_bytes()?)?;
    }
    Ok(())
}
