//! The loop around a loss: one pass over the data ([`pass`]), and many with one optimizer ([`Trainer`]).
//!
//! Knows no particular loss. Nothing is read back from the device before a pass is over.

use std::time::Instant;

use tch::{Kind, Tensor};

use super::images::{Batch, Images};
use super::loss;
use super::params::Recipe;
use super::sgd::Sgd;
use crate::io::{Progress, StageIo};
use crate::model::network::{Network, Part};
use crate::stage::StageError;

/// What a trainer computes for one batch.
pub struct Step {
    /// The loss to descend, a scalar.
    pub loss: Tensor,
    /// Logits of the batch, for the training accuracy (against the true labels).
    pub logits: Tensor,
}

impl Step {
    /// Cross-entropy of logits with labels.
    ///
    /// # Errors
    /// None; a `Result` because a step gives one.
    pub fn cross_entropy(logits: Tensor, labels: &Tensor) -> Result<Self, StageError> {
        Ok(Self { loss: loss::cross_entropy(&logits, labels), logits })
    }
}

/// What a pass over the data gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// The loss of each step.
    pub losses: Vec<f64>,
    /// Mean loss over samples.
    pub loss: f64,
    /// Share of samples whose true label had the highest logit while training, 0 to 1.
    pub accuracy: f64,
    /// Samples a second.
    pub samples_per_s: f64,
}

/// Where a trainer reports to and asks whether to go on.
pub trait Observer {
    /// Called before each batch.
    ///
    /// # Errors
    /// To stop.
    fn poll(&mut self) -> Result<(), StageError>;

    /// Called when `done` of `total` epochs are over.
    fn epoch(&mut self, done: u32, total: u32, tally: &Tally);

    /// Called instead of [`Self::epoch`] where there is neither loss nor accuracy.
    fn passed(&mut self, done: u32, total: u32);

    /// Seconds of training, for the record.
    fn trained(&mut self, seconds: f64);
}

impl Observer for StageIo<'_> {
    fn poll(&mut self) -> Result<(), StageError> {
        self.check_cancelled()
    }

    fn epoch(&mut self, done: u32, total: u32, tally: &Tally) {
        self.progress(Progress {
            unit: "epoch".to_owned(),
            done: u64::from(done),
            total: u64::from(total),
            loss: Some(tally.loss),
            accuracy: Some(tally.accuracy),
            samples_per_s: Some(tally.samples_per_s),
        });
    }

    fn passed(&mut self, done: u32, total: u32) {
        let (done, total) = (u64::from(done), u64::from(total));
        self.progress(Progress { unit: "epoch".to_owned(), done, total, ..Progress::default() });
    }

    fn trained(&mut self, seconds: f64) {
        self.measure("train_seconds", seconds);
    }
}

/// Reports nothing and never stops: for tests.
pub struct Silent;

impl Observer for Silent {
    fn poll(&mut self) -> Result<(), StageError> {
        Ok(())
    }

    fn epoch(&mut self, _done: u32, _total: u32, _tally: &Tally) {}

    fn passed(&mut self, _done: u32, _total: u32) {}

    fn trained(&mut self, _seconds: f64) {}
}

/// One pass: for each batch, the loss of `step` and the optimizer's step. `epoch` counts from 1, for errors.
///
/// # Errors
/// When a loss is NaN or infinite, or the observer says to stop.
pub fn pass(
    epoch: u32,
    batches: impl Iterator<Item = Batch>,
    sgd: &mut Sgd,
    observer: &mut dyn Observer,
    mut step: impl FnMut(&Batch) -> Result<Step, StageError>,
) -> Result<Tally, StageError> {
    let started = Instant::now();
    let (mut losses, mut correct, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    for batch in batches {
        observer.poll()?;
        let Step { loss, logits } = step(&batch)?;
        sgd.step(&loss)?;
        losses.push(loss.detach().to_kind(Kind::Double));
        correct.push(logits.detach().argmax(1, false).eq_tensor(&batch.labels).sum(Kind::Int64));
        sizes.push(batch.labels.size()[0]);
    }
    let losses = Vec::<f64>::try_from(Tensor::stack(&losses, 0)).map_err(|e| StageError::failed(e.to_string()))?;
    if let Some(step) = losses.iter().position(|loss| !loss.is_finite()) {
        let what = if losses[step].is_nan() { "NaN" } else { "infinite loss" };
        return Err(StageError::failed(format!("{what} at epoch {epoch}, step {}", step + 1)));
    }
    let samples: i64 = sizes.iter().sum();
    let weighted: f64 = losses.iter().zip(&sizes).map(|(loss, size)| loss * *size as f64).sum();
    Ok(Tally {
        loss: weighted / samples as f64,
        accuracy: Tensor::stack(&correct, 0).sum(Kind::Int64).int64_value(&[]) as f64 / samples as f64,
        samples_per_s: samples as f64 / started.elapsed().as_secs_f64().max(1e-9),
        losses,
    })
}

/// Trains all weights of a network by one loss, an epoch at a time.
pub struct Trainer<'a> {
    images: &'a Images,
    recipe: &'a Recipe,
    sgd: Sgd,
    epoch: u32,
    seconds: f64,
}

impl<'a> Trainer<'a> {
    /// Before the first epoch.
    #[must_use]
    pub fn new(network: &Network, images: &'a Images, recipe: &'a Recipe) -> Self {
        let sgd = Sgd::new(network.train_only(Part::All), &recipe.optimizer);
        Self { images, recipe, sgd, epoch: 0, seconds: 0.0 }
    }

    /// Epochs done.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The next epoch (they count from 1, also where `step` is told), unless all are done.
    ///
    /// # Errors
    /// As [`pass`].
    pub fn next_epoch(
        &mut self,
        observer: &mut dyn Observer,
        mut step: impl FnMut(u32, &Batch) -> Result<Step, StageError>,
    ) -> Result<Option<Tally>, StageError> {
        if self.epoch == self.recipe.epochs {
            return Ok(None);
        }
        self.epoch += 1;
        let epoch = self.epoch;
        if self.recipe.momentum_reset {
            self.sgd.reset();
        }
        let started = Instant::now();
        let batches = self.images.batches(self.recipe, &format!("epoch-{epoch}"));
        let tally = pass(epoch, batches, &mut self.sgd, observer, |batch| step(epoch, batch))?;
        self.seconds += started.elapsed().as_secs_f64();
        observer.epoch(epoch, self.recipe.epochs, &tally);
        if epoch == self.recipe.epochs {
            observer.trained(self.seconds);
        }
        Ok(Some(tally))
    }
}

/// Trains all weights for all epochs of the recipe and gives each epoch's tally.
///
/// # Errors
/// As [`pass`].
pub fn fit(
    network: &Network,
    images: &Images,
    recipe: &Recipe,
    observer: &mut dyn Observer,
    mut step: impl FnMut(u32, &Batch) -> Result<Step, StageError>,
) -> Result<Vec<Tally>, StageError> {
    let mut trainer = Trainer::new(network, images, recipe);
    let mut tallies = Vec::new();
    while let Some(tally) = trainer.next_epoch(observer, &mut step)? {
        tallies.push(tally);
    }
    Ok(tallies)
}
