//! The loop around a loss: one pass over the data ([`pass`]), epochs of several passes ([`epochs`]), and many passes
//! over the same data with one optimizer ([`Trainer`], [`fit`]).
//!
//! Knows no particular loss and no particular optimizer: what a step does with its loss is a [`Descent`]. Nothing is
//! read back from the device before a pass is over.

use std::time::Instant;

use tch::{Kind, Tensor};

use super::images::{Batch, Images};
use super::loss;
use super::params::{Optimizer, Recipe, Rule};
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

/// What is done with the loss of each step of a pass: an optimizer moves weights against its gradient.
pub trait Descent {
    /// Uses the gradient of `loss`, a scalar.
    ///
    /// # Errors
    /// When no gradient can be computed (out of memory, for instance).
    fn step(&mut self, loss: &Tensor) -> Result<(), StageError>;
}

/// An optimizer: what moves weights and looks back at earlier steps.
pub trait Restart: Descent {
    /// Forgets all earlier steps, as a new optimizer would.
    fn restart(&mut self);
}

impl Descent for Sgd {
    fn step(&mut self, loss: &Tensor) -> Result<(), StageError> {
        Self::step(self, loss)
    }
}

impl Restart for Sgd {
    fn restart(&mut self) {
        self.reset();
    }
}

/// Settings by which an optimizer begins.
pub trait Begin: Rule {
    /// The optimizer.
    type Descent: Restart;

    /// Before the first step on `parameters`, which [`Network::train_only`] gave.
    fn begin(&self, parameters: Vec<Tensor>) -> Self::Descent;
}

impl Begin for Optimizer {
    type Descent = Sgd;

    fn begin(&self, parameters: Vec<Tensor>) -> Sgd {
        Sgd::new(parameters, self)
    }
}

/// The gradients of `loss`, a scalar, with respect to `parameters`; never stored in these.
///
/// # Errors
/// When they cannot be computed (out of memory, for instance).
pub fn gradients(loss: &Tensor, parameters: &[Tensor]) -> Result<Vec<Tensor>, StageError> {
    Tensor::f_run_backward(&[loss], parameters, false, false)
        .map_err(|e| StageError::failed(format!("computing gradients: {e}")))
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

impl Tally {
    /// This pass after an `earlier` one of the same epoch: the losses of both, all else of this one.
    #[must_use]
    pub fn after(self, earlier: Self) -> Self {
        let mut losses = earlier.losses;
        losses.extend_from_slice(&self.losses);
        Self { losses, ..self }
    }
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

/// Passes everything on but the seconds of a part of the work.
struct Untimed<'a>(&'a mut dyn Observer);

impl Observer for Untimed<'_> {
    fn poll(&mut self) -> Result<(), StageError> {
        self.0.poll()
    }

    fn epoch(&mut self, done: u32, total: u32, tally: &Tally) {
        self.0.epoch(done, total, tally);
    }

    fn passed(&mut self, done: u32, total: u32) {
        self.0.passed(done, total);
    }

    fn trained(&mut self, _seconds: f64) {}
}

/// Does all the `work` of a method and tells the observer how long it took, in place of what its parts would tell: for
/// work beside the passes (masks, evaluations), or passes that may end early.
///
/// # Errors
/// Those of `work`.
pub fn timed<T>(
    observer: &mut dyn Observer,
    work: impl FnOnce(&mut dyn Observer) -> Result<T, StageError>,
) -> Result<T, StageError> {
    let started = Instant::now();
    let done = work(&mut Untimed(&mut *observer))?;
    observer.trained(started.elapsed().as_secs_f64());
    Ok(done)
}

/// One pass: for each batch, the loss of `step` and the step of `descent`. `epoch` counts from 1, for errors.
///
/// # Errors
/// When a loss is NaN or infinite, or the observer says to stop.
pub fn pass(
    epoch: u32,
    batches: impl Iterator<Item = Batch>,
    descent: &mut dyn Descent,
    observer: &mut dyn Observer,
    mut step: impl FnMut(&Batch) -> Result<Step, StageError>,
) -> Result<Tally, StageError> {
    let started = Instant::now();
    let (mut losses, mut correct, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    for batch in batches {
        observer.poll()?;
        let Step { loss, logits } = step(&batch)?;
        descent.step(&loss)?;
        losses.push(loss.detach().to_kind(Kind::Double));
        correct.push(logits.detach().argmax(1, false).eq_tensor(&batch.labels).sum(Kind::Int64));
        sizes.push(batch.labels.size()[0]);
    }
    let losses = Vec::<f64>::try_from(Tensor::stack(&losses, 0)).map_err(|e| StageError::failed(e.to_string()))?;
    if let Some(step) = losses.iter().position(|loss| !loss.is_finite()) {
        let what = if losses[step].is_nan() { "NaN" } else { "infinite loss" };
        return Err(StageError::diverged(format!("{what} at epoch {epoch}, step {}", step + 1)));
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

/// The epochs of a run: counts them, reports each, and measures their time.
struct Epochs {
    total: u32,
    done: u32,
    seconds: f64,
}

impl Epochs {
    fn new(total: u32) -> Self {
        Self { total, done: 0, seconds: 0.0 }
    }

    /// The passes of the next epoch, which are told its number from 1, unless all are done.
    fn run_next(
        &mut self,
        observer: &mut dyn Observer,
        passes: impl FnOnce(u32, &mut dyn Observer) -> Result<Tally, StageError>,
    ) -> Result<Option<Tally>, StageError> {
        if self.done == self.total {
            return Ok(None);
        }
        let started = Instant::now();
        let tally = passes(self.done + 1, observer)?;
        self.done += 1;
        self.seconds += started.elapsed().as_secs_f64();
        observer.epoch(self.done, self.total, &tally);
        if self.done == self.total {
            observer.trained(self.seconds);
        }
        Ok(Some(tally))
    }
}

/// Runs `total` epochs, each of the passes that `passes` makes (it is told the epoch, from 1); gives the loss of each
/// step.
///
/// # Errors
/// Those of `passes`.
pub fn epochs(
    total: u32,
    observer: &mut dyn Observer,
    mut passes: impl FnMut(u32, &mut dyn Observer) -> Result<Tally, StageError>,
) -> Result<Vec<f64>, StageError> {
    let (mut epochs, mut losses) = (Epochs::new(total), Vec::new());
    while let Some(mut tally) = epochs.run_next(observer, &mut passes)? {
        losses.append(&mut tally.losses);
    }
    Ok(losses)
}

/// Trains by one loss, an epoch at a time.
pub struct Trainer<'a, R = Optimizer, D = Sgd> {
    images: &'a Images,
    recipe: &'a Recipe<R>,
    descent: D,
    epochs: Epochs,
}

impl<'a, R: Begin> Trainer<'a, R, R::Descent> {
    /// Before the first epoch; trains all weights by the recipe's optimizer.
    #[must_use]
    pub fn new(network: &Network, images: &'a Images, recipe: &'a Recipe<R>) -> Self {
        Self::with(recipe.optimizer.begin(network.train_only(Part::All)), images, recipe)
    }
}

impl<'a, R: Rule, D: Restart> Trainer<'a, R, D> {
    /// Before the first epoch; trains whatever `descent` moves.
    #[must_use]
    pub fn with(descent: D, images: &'a Images, recipe: &'a Recipe<R>) -> Self {
        Self { images, recipe, descent, epochs: Epochs::new(recipe.epochs) }
    }

    /// Epochs done.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epochs.done
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
        let Self { images, recipe, descent, epochs } = self;
        epochs.run_next(observer, |epoch, observer| {
            if recipe.momentum_reset {
                descent.restart();
            }
            let batches = images.batches(recipe, &format!("epoch-{epoch}"));
            pass(epoch, batches, descent, observer, |batch| step(epoch, batch))
        })
    }
}

/// Trains all weights by the recipe's optimizer, for all its epochs, and gives each epoch's tally.
///
/// # Errors
/// As [`pass`].
pub fn fit<R: Begin>(
    network: &Network,
    images: &Images,
    recipe: &Recipe<R>,
    observer: &mut dyn Observer,
    step: impl FnMut(u32, &Batch) -> Result<Step, StageError>,
) -> Result<Vec<Tally>, StageError> {
    fit_with(recipe.optimizer.begin(network.train_only(Part::All)), images, recipe, observer, step)
}

/// As [`fit`], for whatever `descent` moves.
///
/// # Errors
/// As [`pass`].
pub fn fit_with<R: Rule>(
    descent: impl Restart,
    images: &Images,
    recipe: &Recipe<R>,
    observer: &mut dyn Observer,
    mut step: impl FnMut(u32, &Batch) -> Result<Step, StageError>,
) -> Result<Vec<Tally>, StageError> {
    let mut trainer = Trainer::with(descent, images, recipe);
    let mut tallies = Vec::new();
    while let Some(tally) = trainer.next_epoch(observer, &mut step)? {
        tallies.push(tally);
    }
    Ok(tallies)
}
