//! Labelled images on the device, and the batches of an epoch: order, conversion, augmentation, and the network's view.
//!
//! Pixels stay in their stored type and size, and become floats of the network's input size a batch at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use crate::dataset::{Dataset, Pixels};
use crate::io::{Reads, StageIo};
use crate::model::network::Network;
use crate::model::view::View;
use crate::rng;
use crate::stage::StageError;
use crate::train::augment::Changes;
use crate::train::params::{Order, Recipe, Rule};
use crate::train::resample::show;

/// Images and labels, checked against the network that they are for.
pub struct Images {
    /// [N, C, H, W], u8 or f32.
    pixels: Tensor,
    /// i64 [N], on the device.
    labels: Tensor,
    labels_on_host: Vec<i64>,
    /// How the network sees them.
    view: View,
    kind: Kind,
    device: Device,
    /// Told of every batch; none where nobody counts.
    reads: Option<Arc<Reads>>,
}

/// Some samples, ready for [`Network::forward`].
pub struct Batch {
    /// Pixels in [0, 1], [n, C, H, W], of the network's input size and in its type.
    pub pixels: Tensor,
    /// Labels, i64 [n].
    pub labels: Tensor,
    /// Which samples these are: positions in the [`Images`], i64 [n].
    pub rows: Tensor,
}

impl Images {
    /// The data set of an input port; its batches are counted.
    ///
    /// # Errors
    /// When it is damaged, empty, or its images or labels do not fit the network.
    pub fn load(io: &StageIo, port: &str, network: &Network) -> Result<Self, StageError> {
        Ok(Self::new(port, &Dataset::from_input(port, io.input(port)?)?, network)?.counted(io.reads()))
    }

    /// The same images, whose batches, and those of all that is made from them, `reads` is told of.
    #[must_use]
    pub fn counted(self, reads: &Arc<Reads>) -> Self {
        Self { reads: Some(Arc::clone(reads)), ..self }
    }

    /// Checks a data set and brings it to the network's device; `name` is used in errors.
    ///
    /// # Errors
    /// When it is empty, or its images or labels do not fit the network.
    pub fn new(name: &str, dataset: &Dataset, network: &Network) -> Result<Self, StageError> {
        let [n, channels, height, width] = dataset.shape;
        let architecture = network.architecture();
        let bad = |problem: String| Err(StageError::input(name, problem));
        if n == 0 {
            return bad("the data set holds no sample".to_owned());
        }
        if channels != architecture.channels as usize {
            return bad(format!("images of {channels} channel(s); the network takes {}", architecture.channels));
        }
        let view = match architecture.view(height, width) {
            Ok(view) => view,
            Err(takes) => return bad(format!("images of {height}x{width} pixels; {takes}")),
        };
        let classes = i64::from(architecture.classes);
        if let Some(at) = dataset.labels.iter().position(|label| !(0..classes).contains(label)) {
            let label = dataset.labels[at];
            return bad(format!("label {label} of sample {at}; the network has the classes 0 to {}", classes - 1));
        }
        let shape = [n, channels, height, width].map(|d| d as i64);
        let device = network.device();
        let pixels = match &dataset.pixels {
            Pixels::U8(bytes) => Tensor::f_from_slice(bytes),
            Pixels::F32(values) => Tensor::f_from_slice(values),
        };
        let pixels = pixels.and_then(|p| p.f_view(shape)).and_then(|p| p.f_to_device(device));
        let pixels = pixels.map_err(|e| StageError::input(name, e.to_string()))?;
        let labels = Tensor::from_slice(&dataset.labels).to_device(device);
        let labels_on_host = dataset.labels.clone();
        Ok(Self { pixels, labels, labels_on_host, view, kind: network.kind(), device, reads: None })
    }

    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels_on_host.len()
    }

    /// Whether there is no sample; never, but clippy asks.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels_on_host.is_empty()
    }

    /// The labels.
    #[must_use]
    pub fn labels(&self) -> &[i64] {
        &self.labels_on_host
    }

    /// Refuses a data set that holds another class than `class`.
    ///
    /// # Errors
    /// As said.
    pub fn expect_only(&self, class: u32) -> Result<(), StageError> {
        let found: BTreeSet<i64> = self.labels_on_host.iter().copied().collect();
        if found == BTreeSet::from([i64::from(class)]) {
            return Ok(());
        }
        Err(StageError::failed(format!("only class {class} was to be seen, and the data hold the classes {found:?}")))
    }

    /// Refuses a data set that holds `class`.
    ///
    /// # Errors
    /// As said.
    pub fn expect_without(&self, class: u32) -> Result<(), StageError> {
        if self.labels_on_host.contains(&i64::from(class)) {
            return Err(StageError::failed(format!("class {class} was to be left out, and the data hold it")));
        }
        Ok(())
    }

    /// The samples of `class`, and all others, each in stored order; `name` is used in errors.
    ///
    /// # Errors
    /// When there is none of the one or of the other.
    pub fn split(&self, name: &str, class: u32) -> Result<(Self, Self), StageError> {
        let (own, others): (Vec<usize>, Vec<usize>) =
            (0..self.len()).partition(|&row| self.labels_on_host[row] == i64::from(class));
        for (part, what) in [(&own, "no sample"), (&others, "no sample but those")] {
            if part.is_empty() {
                return Err(StageError::input(name, format!("{what} of class {class}; both parts are needed")));
            }
        }
        Ok((self.select(&own), self.select(&others)))
    }

    /// These samples, then those of `more`.
    #[must_use]
    pub fn then(&self, more: &Self) -> Self {
        let alike = self.pixels.kind() == more.pixels.kind();
        let pixels = |images: &Self| if alike { images.pixels.shallow_clone() } else { images.floats(&images.pixels) };
        Self {
            pixels: Tensor::cat(&[pixels(self), pixels(more)], 0),
            labels: Tensor::cat(&[&self.labels, &more.labels], 0),
            labels_on_host: [self.labels_on_host.as_slice(), &more.labels_on_host].concat(),
            kind: self.kind,
            device: self.device,
            view: self.view,
            reads: self.reads.clone().or_else(|| more.reads.clone()),
        }
    }

    /// How the network is shown these images.
    #[must_use]
    pub fn view(&self) -> View {
        self.view
    }

    /// Images that a method made: `pixels` float, [n, C, H, W], in the network's type and on its device, all of `class`;
    /// shown as they are.
    #[must_use]
    pub fn made(pixels: Tensor, class: u32) -> Self {
        let labels = vec![i64::from(class); pixels.size()[0] as usize];
        let (kind, device) = (pixels.kind(), pixels.device());
        let view = View::AsStored;
        Self {
            labels: Tensor::from_slice(&labels).to_device(device),
            labels_on_host: labels,
            pixels,
            kind,
            device,
            view,
            reads: None,
        }
    }

    /// Channels, height and width of an image.
    #[must_use]
    pub fn shape(&self) -> [i64; 3] {
        let size = self.pixels.size();
        [size[1], size[2], size[3]]
    }

    /// The samples `rows`, in that order.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let index = self.rows(rows);
        Self {
            pixels: self.pixels.index_select(0, &index),
            labels: self.labels.index_select(0, &index),
            labels_on_host: rows.iter().map(|&row| self.labels_on_host[row]).collect(),
            view: self.view,
            kind: self.kind,
            device: self.device,
            reads: self.reads.clone(),
        }
    }

    /// One value a sample, on the device: labels that replace the true ones, for instance.
    ///
    /// # Panics
    /// When there are more or fewer values than samples.
    pub fn per_sample(&self, values: &[i64]) -> Tensor {
        assert_eq!(values.len(), self.len(), "one value a sample");
        Tensor::from_slice(values).to_device(self.device)
    }

    /// All samples in stored order and without chance, `batch_size` at a time: for evaluation.
    #[must_use]
    pub fn in_order(&self, batch_size: usize) -> Batches<'_> {
        self.in_batches((0..self.len()).collect(), None, batch_size as i64)
    }

    /// The batches of one pass; `pass` names it in the random streams, for instance `epoch-3`.
    #[must_use]
    pub fn batches<'a, R: Rule>(&'a self, recipe: &'a Recipe<R>, pass: &str) -> Batches<'a> {
        let order = match recipe.order {
            Order::Sequential => (0..self.len()).collect(),
            Order::Shuffled => rng::permutation(&mut recipe.stream(&format!("order/{pass}")), self.len()),
        };
        let &[_, _, height, width] = self.pixels.size().as_slice() else { unreachable!("images have four dimensions") };
        let size = [height as usize, width as usize];
        let draw = || Changes::draw(recipe, pass, self.len(), size, self.view, self.device);
        let changes = (!recipe.augment.is_none()).then(draw);
        self.in_batches(order, changes, i64::from(recipe.batch_size))
    }

    fn in_batches<'a>(&'a self, order: Vec<usize>, changes: Option<Changes<'a>>, batch_size: i64) -> Batches<'a> {
        Batches { images: self, rows: self.rows(&order), order, changes, batch_size, next: 0 }
    }

    /// The batches of one pass after another without end, each in an order of its own; nothing where there is
    /// no sample.
    pub fn cycle<'a, R: Rule>(&'a self, recipe: &'a Recipe<R>, pass: &str) -> impl Iterator<Item = Batch> + use<'a, R> {
        let pass = pass.to_owned();
        let last = if self.is_empty() { 0 } else { u64::MAX };
        (1..=last).flat_map(move |round| self.batches(recipe, &format!("{pass}/round-{round}")))
    }

    /// Stored pixels as floats of the network's type, in [0, 1].
    fn floats(&self, stored: &Tensor) -> Tensor {
        match stored.kind() {
            Kind::Uint8 => stored.to_kind(self.kind) / 255.0,
            _ => stored.to_kind(self.kind),
        }
    }

    /// Tells who counts that these samples were read.
    fn count(&self, rows: &[usize]) {
        let Some(reads) = &self.reads else { return };
        let values: i64 = self.shape().iter().product();
        let sample_bytes = values as u64 * self.pixels.kind().elt_size_in_bytes() as u64;
        reads.add(rows.iter().map(|&row| self.labels_on_host[row]), sample_bytes);
    }

    fn rows(&self, rows: &[usize]) -> Tensor {
        let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        Tensor::from_slice(&rows).to_device(self.device)
    }
}

/// The batches of one pass.
pub struct Batches<'a> {
    images: &'a Images,
    rows: Tensor,
    /// The same on the host.
    order: Vec<usize>,
    changes: Option<Changes<'a>>,
    batch_size: i64,
    next: i64,
}

impl Iterator for Batches<'_> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let all = self.rows.size()[0];
        if self.next >= all {
            return None;
        }
        let (start, count) = (self.next, self.batch_size.min(all - self.next));
        self.next += count;
        self.images.count(&self.order[start as usize..self.next as usize]);
        let rows = self.rows.narrow(0, start, count);
        let pixels = self.images.floats(&self.images.pixels.index_select(0, &rows));
        let pixels = match &self.changes {
            Some(changes) => changes.apply(&pixels, start),
            None => show(&pixels, self.images.view),
        };
        Some(Batch { pixels, labels: self.images.labels.index_select(0, &rows), rows })
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "indexing moves pixels and must not change them")]
mod tests {
    use super::*;
    use crate::model::architecture::{Architecture, ModelParams};
    use crate::model::init;
    use crate::train::params::{Augment, BatchNorm, Normalise, Optimizer, Precision};

    fn network(channels: u32, normalise: Option<&Normalise>) -> Network {
        let params = ModelParams { width: 0.05, ..ModelParams::default() };
        let architecture = Architecture::new(&params, channels).unwrap();
        let state = init::draw(&architecture, safetensors::tensor::Dtype::F64, 7, "");
        Network::from_state("test", &state, Precision::F64, normalise, Device::Cpu).unwrap()
    }

    /// Images without two equal pixels in a row or column, so that every crop and flip is told from every other.
    fn dataset(n: usize, channels: usize, side: usize) -> Dataset {
        let pixel = |at: usize| ((at * 37) % 251) as u8;
        let pixels = (0..n * channels * side * side).map(pixel).collect();
        let labels = (0..n as i64).map(|i| i % 10).collect();
        Dataset {
            shape: [n, channels, side, side],
            pixels: Pixels::U8(pixels),
            labels,
            positions: (0..n as i64).collect(),
        }
    }

    fn recipe(order: Order, augment: Augment) -> Recipe {
        Recipe {
            epochs: 1,
            batch_size: 7,
            optimizer: Optimizer::new(0.1, 0.0),
            momentum_reset: false,
            order,
            augment,
            batch_norm: BatchNorm::Train,
            seed: 7,
            purpose: "",
        }
    }

    fn numbers(x: &Tensor) -> Vec<f64> {
        Vec::try_from(x.flatten(0, -1).to_kind(Kind::Double)).unwrap()
    }

    #[test]
    fn an_epoch_gives_every_sample_once_in_batches_with_a_smaller_tail() {
        let network = network(1, None);
        let images = Images::new("data", &dataset(20, 1, 28), &network).unwrap();
        let shuffled = recipe(Order::Shuffled, Augment::default());
        let rows = |recipe: &Recipe, pass: &str| -> (Vec<usize>, Vec<f64>) {
            let batches: Vec<Batch> = images.batches(recipe, pass).collect();
            let sizes = batches.iter().map(|b| b.labels.size()[0] as usize).collect();
            (sizes, batches.iter().flat_map(|b| numbers(&b.rows)).collect())
        };
        let (sizes, first) = rows(&shuffled, "epoch-1");
        assert_eq!(sizes, [7, 7, 6]);
        let mut sorted = first.clone();
        sorted.sort_by(f64::total_cmp);
        assert_eq!(sorted, (0..20).map(f64::from).collect::<Vec<_>>());
        assert_eq!(first, rows(&shuffled, "epoch-1").1);
        assert_ne!(first, rows(&shuffled, "epoch-2").1);
        assert_eq!(rows(&recipe(Order::Sequential, Augment::default()), "epoch-1").1, sorted);
        for batch in images.batches(&shuffled, "epoch-1") {
            for (row, label) in numbers(&batch.rows).iter().zip(numbers(&batch.labels)) {
                assert_eq!(row % 10.0, label);
            }
        }
    }

    #[test]
    fn every_batch_that_is_taken_is_counted_by_class_and_no_other() {
        let mut events = Vec::new();
        let folder = tempfile::tempdir().unwrap();
        let attempt = crate::io::Attempt {
            stage: "test".to_owned(),
            params: serde_json::Value::Null,
            inputs: std::collections::BTreeMap::new(),
            sources: std::collections::BTreeMap::new(),
            folder: folder.path().to_owned(),
            kept: folder.path().join("kept"),
            device: "cpu".to_owned(),
            threads: 1,
            log: folder.path().join("log"),
        };
        let mut io = StageIo::new(&attempt, Arc::default(), |event| events.push(event)).unwrap();
        io.measure_reads(Some(3));
        let images = Images::new("data", &dataset(20, 1, 28), &network(1, None)).unwrap();
        assert_eq!(images.in_order(7).count(), 3);
        let images = images.counted(io.reads());
        let (forget, retain) = images.split("data", 3).unwrap();
        let shuffled = recipe(Order::Shuffled, Augment::default());
        // 2 samples of class 3 twice, 18 others once, and the first 7 of a pass that ends early: none, or some, of class 3.
        assert_eq!(forget.batches(&shuffled, "epoch-1").count() + forget.in_order(1).count(), 3);
        assert_eq!(retain.batches(&shuffled, "epoch-1").count(), 3);
        let early = images.cycle(&shuffled, "epoch-2").next().unwrap();
        let others = numbers(&early.labels).iter().filter(|label| **label != 3.0).count();
        // Images that a method made are samples too, once they stand beside stored ones.
        let made = Images::made(Tensor::zeros([5, 1, 28, 28], (Kind::Double, Device::Cpu)), 3).then(&forget);
        assert_eq!(made.in_order(10).count(), 1);
        io.measure_reads(Some(3));
        io.measure_reads(None);
        drop(io);
        let measured = |name: &str, value: f64| crate::io::StageEvent::Measured { name: name.to_owned(), value };
        let samples = measured("sample_passes", f64::from(4 + 18 + 7 + 7));
        let bytes = measured("retain_read_bytes", ((18 + others) * 28 * 28) as f64);
        assert_eq!(events, [samples.clone(), bytes, samples]);
    }

    #[test]
    fn a_cycle_begins_again_in_another_order_and_never_mixes_two_rounds_in_a_batch() {
        let images = Images::new("data", &dataset(20, 1, 28), &network(1, None)).unwrap();
        let rounds = |recipe: &Recipe, pass: &str| -> Vec<Vec<f64>> {
            let batches: Vec<Vec<f64>> = images.cycle(recipe, pass).take(9).map(|batch| numbers(&batch.rows)).collect();
            assert!(batches.iter().map(Vec::len).eq([7, 7, 6, 7, 7, 6, 7, 7, 6]));
            batches.chunks(3).map(<[_]>::concat).collect()
        };
        let shuffled = rounds(&recipe(Order::Shuffled, Augment::default()), "epoch-1");
        let stored: Vec<f64> = (0..20).map(f64::from).collect();
        for round in &shuffled {
            let mut sorted = round.clone();
            sorted.sort_by(f64::total_cmp);
            assert_eq!(sorted, stored);
        }
        assert!(shuffled[0] != shuffled[1] && shuffled[1] != shuffled[2] && shuffled[0] != shuffled[2]);
        assert_ne!(shuffled, rounds(&recipe(Order::Shuffled, Augment::default()), "epoch-2"));
        assert_eq!(rounds(&recipe(Order::Sequential, Augment::default()), "epoch-1"), [&stored[..]; 3]);
    }

    /// The pixel at (y, x) of an image padded without end, by zeros or by reflection at the edge pixels.
    fn padded(image: &[f64], side: i64, reflect: bool, y: i64, x: i64) -> f64 {
        let mirror = |v: i64| {
            if v < 0 {
                -v
            } else if v >= side {
                2 * (side - 1) - v
            } else {
                v
            }
        };
        let inside = |v: i64| (0..side).contains(&v);
        match (inside(y) && inside(x), reflect) {
            (true, _) => image[(y * side + x) as usize],
            (false, true) => image[(mirror(y) * side + mirror(x)) as usize],
            (false, false) => 0.0,
        }
    }

    #[test]
    fn augmented_images_are_crops_and_flips_and_every_offset_and_side_occurs() {
        let side = 32_i64;
        for reflect in [false, true] {
            let images = Images::new("data", &dataset(60, 3, 32), &network(3, None)).unwrap();
            let augment = Augment { crop_padding: 1, reflect, flip: true, ..Augment::default() };
            let mut seen = BTreeSet::new();
            for (at, batch) in images.batches(&recipe(Order::Sequential, augment), "epoch-1").enumerate() {
                let plain = images.select(&(7 * at..(7 * at + 7).min(60)).collect::<Vec<_>>());
                let plain = numbers(&plain.in_order(7).next().unwrap().pixels);
                let changed = numbers(&batch.pixels);
                let size = (3 * side * side) as usize;
                for (image, changed) in plain.chunks(size).zip(changed.chunks(size)) {
                    let is = |top: i64, left: i64, flip: bool| {
                        (0..3 * side * side).all(|i| {
                            let (channel, y, x) = (i / (side * side), i / side % side, i % side);
                            let x = if flip { side - 1 - x } else { x };
                            let plane = &image[(channel * side * side) as usize..];
                            padded(plane, side, reflect, y + top - 1, x + left - 1) == changed[i as usize]
                        })
                    };
                    let all =
                        (0..3).flat_map(|top| (0..3).flat_map(move |left| [(top, left, false), (top, left, true)]));
                    let fits: Vec<_> = all.filter(|&(top, left, flip)| is(top, left, flip)).collect();
                    assert_eq!(fits.len(), 1, "each image is exactly one crop of its original");
                    seen.extend(fits);
                }
            }
            assert!(seen.len() > 12, "60 images hit most of the 18 possibilities, not {}", seen.len());
        }
    }

    #[test]
    fn a_transformer_sees_stored_images_resized_and_each_training_image_its_own_part() {
        let size = serde_json::json!({"image_size": 28, "patch": 7, "layers": 1, "heads": 2, "dim": 8, "mlp": 8});
        let params: ModelParams = serde_json::from_value(serde_json::json!({"name": "vit_b_16", "vit": size})).unwrap();
        let architecture = Architecture::new(&params, 3).unwrap();
        let state = init::draw(&architecture, safetensors::tensor::Dtype::F64, 7, "");
        let network = Network::from_state("test", &state, Precision::F64, None, Device::Cpu).unwrap();
        let images = Images::new("data", &dataset(20, 3, 40), &network).unwrap();
        let plain = images.in_order(20).next().unwrap().pixels;
        assert_eq!(plain.size(), [20, 3, 28, 28]);
        let stored = images.pixels.to_kind(Kind::Double) / 255.0;
        assert_eq!(numbers(&plain), numbers(&show(&stored, View::Resized { shorter: 32, crop: 28 })));
        let seen = |augment: &Augment, pass: &str| -> Vec<Tensor> {
            let recipe = recipe(Order::Sequential, augment.clone());
            images.batches(&recipe, pass).map(|batch| batch.pixels).collect()
        };
        // Without a change that is drawn, training sees what evaluation sees.
        assert_eq!(numbers(&Tensor::cat(&seen(&Augment::default(), "epoch-1"), 0)), numbers(&plain));
        let augment = Augment { random_resized_crop: true, flip: true, ..Augment::default() };
        let first = Tensor::cat(&seen(&augment, "epoch-1"), 0);
        assert_eq!(first.size(), [20, 3, 28, 28]);
        assert_eq!(numbers(&first), numbers(&Tensor::cat(&seen(&augment, "epoch-1"), 0)));
        assert_ne!(numbers(&first), numbers(&Tensor::cat(&seen(&augment, "epoch-2"), 0)));
        // A batch of its own, at its own place in the stream, is that part of the whole.
        assert_eq!(numbers(&first.narrow(0, 7, 7)), numbers(&seen(&augment, "epoch-1")[1]));
        // A shift of a stored image is seen, resized: not the shift of what is seen.
        let shifted = Augment { crop_padding: 2, ..Augment::default() };
        assert_eq!(seen(&shifted, "epoch-1")[0].size(), [7, 3, 28, 28]);
    }

    #[test]
    fn parts_of_images_that_a_network_takes_as_they_are_get_their_size_back() {
        let images = Images::new("data", &dataset(9, 1, 28), &network(1, None)).unwrap();
        let augment = Augment { random_resized_crop: true, ..Augment::default() };
        let recipe = recipe(Order::Sequential, augment);
        let batch = images.batches(&recipe, "epoch-1").next().unwrap();
        assert_eq!(batch.pixels.size(), [7, 1, 28, 28]);
        let plain = numbers(&images.in_order(7).next().unwrap().pixels);
        assert_ne!(numbers(&batch.pixels), plain);
        assert!(batch.pixels.max().double_value(&[]) <= plain.iter().copied().fold(0.0, f64::max));
    }

    #[test]
    fn normalisation_inside_the_network_equals_normalised_images() {
        use crate::model::network::Mode;
        let normalise = Normalise { mean: vec![0.5, 0.4, 0.3], std: vec![0.2, 0.25, 0.3] };
        let (inside, outside) = (network(3, Some(&normalise)), network(3, None));
        let images = Images::new("data", &dataset(4, 3, 32), &inside).unwrap();
        let pixels = images.in_order(4).next().unwrap().pixels;
        let channels = |values: &[f64]| Tensor::from_slice(values).view([1, 3, 1, 1]);
        let normalised = (&pixels - channels(&normalise.mean)) / channels(&normalise.std);
        assert_eq!(numbers(&inside.forward(&pixels, Mode::Eval)), numbers(&outside.forward(&normalised, Mode::Eval)));
        assert_ne!(numbers(&inside.forward(&pixels, Mode::Eval)), numbers(&outside.forward(&pixels, Mode::Eval)));
    }

    #[test]
    fn a_class_and_the_others_keep_their_stored_order_and_join_again() {
        let network = network(1, None);
        let images = Images::new("data", &dataset(25, 1, 28), &network).unwrap();
        let (own, others) = images.split("data", 3).unwrap();
        assert_eq!(own.labels(), [3, 3, 3]);
        let expected: Vec<i64> = (0..25).map(|i| i % 10).filter(|label| *label != 3).collect();
        assert_eq!(others.labels(), expected);
        let pixels =
            |images: &Images| -> Vec<f64> { images.in_order(7).flat_map(|batch| numbers(&batch.pixels)).collect() };
        let all = own.then(&others);
        assert_eq!(pixels(&all), [pixels(&own), pixels(&others)].concat());
        let rows = |keep: bool| (0..25).filter(move |row| (row % 10 == 3) == keep);
        let stored = images.select(&rows(true).chain(rows(false)).collect::<Vec<_>>());
        assert_eq!(pixels(&all), pixels(&stored));
        assert_eq!(
            numbers(&all.in_order(25).next().unwrap().labels),
            [own.labels(), others.labels()].concat().into_iter().map(|l| l as f64).collect::<Vec<_>>()
        );
        let problem = |part: &Images| part.split("data", 3).map(|_| ()).expect_err("one part is empty").to_string();
        assert_eq!(problem(&own), "data: no sample but those of class 3; both parts are needed");
        assert_eq!(problem(&others), "data: no sample of class 3; both parts are needed");
    }

    #[test]
    fn images_made_here_join_stored_ones_without_being_rounded_or_clamped() {
        let images = Images::new("data", &dataset(2, 1, 28), &network(1, None)).unwrap();
        let made = Images::made(Tensor::full([3, 1, 28, 28], 1.0 / 3.0 + 1.0, (Kind::Double, Device::Cpu)), 4);
        let all = made.then(&images);
        assert_eq!((all.labels(), all.shape()), ([4, 4, 4, 0, 1].as_slice(), [1, 28, 28]));
        let pixels: Vec<f64> = all.in_order(2).flat_map(|batch| numbers(&batch.pixels)).collect();
        assert!(pixels[..3 * 784].iter().all(|pixel| *pixel == 1.0 / 3.0 + 1.0));
        assert_eq!(pixels[3 * 784..], numbers(&images.in_order(2).next().unwrap().pixels));
    }

    #[test]
    fn bytes_become_pixels_from_zero_to_one() {
        let images = Images::new("data", &dataset(3, 1, 28), &network(1, None)).unwrap();
        let pixels = numbers(&images.in_order(9).next().unwrap().pixels);
        assert_eq!(pixels[1], 37.0 / 255.0);
    }
}
