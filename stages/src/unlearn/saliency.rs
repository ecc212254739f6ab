//! The saliency mask of Fan, Liu, Zhang, Wong, Wei, Liu, "`SalUn`: empowering machine unlearning via gradient-based weight
//! saliency", ICLR 2024: which weights the loss on the forget data depends on most. Knows nothing of what is then trained.

use tch::{Kind, Tensor, no_grad};

use crate::model::network::{Mode, Network, Part};
use crate::stage::StageError;
use crate::train::fit::{Observer, gradients};
use crate::train::images::Images;
use crate::train::loss;

/// Marks the floor(`share` N) weights, of all N scalars that can be trained taken together, whose gradient is largest in
/// absolute value. The gradient is that of the cross-entropy with the true labels, in eval mode, summed over the
/// batches of `images` in stored order; of equal values the one that comes first in the state dict goes first. Gives one
/// bool tensor for each tensor of [`Network::train_only`], of its shape. Nothing of the network changes.
///
/// # Errors
/// When no gradient can be computed or one is NaN or infinite, or the run was asked to stop.
pub fn mask(
    network: &Network,
    images: &Images,
    batch_size: u32,
    share: f64,
    observer: &mut dyn Observer,
) -> Result<Vec<Tensor>, StageError> {
    let parameters = network.train_only(Part::All);
    let mut sums: Vec<Tensor> = parameters.iter().map(Tensor::zeros_like).collect();
    for batch in images.in_order(batch_size as usize) {
        observer.poll()?;
        let loss = loss::cross_entropy(&network.forward(&batch.pixels, Mode::Eval), &batch.labels);
        let gradients = gradients(&loss, &parameters)?;
        no_grad(|| {
            for (sum, gradient) in sums.iter_mut().zip(&gradients) {
                let _ = sum.g_add_(gradient);
            }
        });
    }
    no_grad(|| largest(&sums, share))
}

/// Where the floor(`share` N) largest absolute values of all `tensors` together are, as [`mask`] says.
///
/// # Errors
/// When a value is NaN or infinite.
pub fn largest(tensors: &[Tensor], share: f64) -> Result<Vec<Tensor>, StageError> {
    let flat: Vec<Tensor> = tensors.iter().map(|tensor| tensor.flatten(0, -1).abs()).collect();
    let all = Tensor::cat(&flat, 0);
    if all.isfinite().all().int64_value(&[]) == 0 {
        return Err(StageError::diverged("a gradient that salience is measured by is NaN or infinite"));
    }
    let chosen = (all.numel() as f64 * share) as i64;
    // A stable sort: of equal values the first stays first.
    let (_, order) = all.sort_stable(true, 0, true);
    let mut marks = Tensor::zeros([all.numel() as i64], (Kind::Bool, all.device()));
    let _ = marks.index_fill_(0, &order.narrow(0, 0, chosen), 1);
    let sizes: Vec<i64> = flat.iter().map(|tensor| tensor.numel() as i64).collect();
    let parts = marks.split_with_sizes(sizes.as_slice(), 0);
    Ok(parts.iter().zip(tensors).map(|(part, tensor)| part.view_as(tensor)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(tensors: &[Tensor], share: f64) -> Vec<Vec<bool>> {
        let masks = largest(tensors, share).unwrap();
        masks.iter().map(|mask| Vec::try_from(mask.flatten(0, -1)).unwrap()).collect()
    }

    #[test]
    fn the_largest_of_all_tensors_together_are_marked_and_of_equal_ones_the_first() {
        let a = Tensor::from_slice2(&[[0.5, -3.0], [1.0, 0.0]]);
        let b = Tensor::from_slice(&[-1.0, 2.0, 1.0, 0.0]);
        // Absolute values in order: 3, 2, then three ones, of which that of `a` and the first of `b` come first.
        let cases = [
            (0.25, [[false, true, false, false], [false, true, false, false]]),
            (0.5, [[false, true, true, false], [true, true, false, false]]),
            (0.624, [[false, true, true, false], [true, true, false, false]]),
            (0.625, [[false, true, true, false], [true, true, true, false]]),
            (1.0, [[true; 4], [true; 4]]),
        ];
        for (share, expected) in cases {
            assert_eq!(marks(&[a.copy(), b.copy()], share), expected, "{share}");
        }
        assert_eq!(largest(&[a.copy(), b], 1.0).unwrap()[0].size(), [2, 2]);
        assert_eq!(marks(&[Tensor::zeros([1000], (Kind::Float, tch::Device::Cpu))], 0.3)[0][..300], [true; 300]);
        let bad = largest(&[a, Tensor::from_slice(&[f64::NAN])], 0.5).unwrap_err().to_string();
        assert_eq!(bad, "a gradient that salience is measured by is NaN or infinite");
    }
}
