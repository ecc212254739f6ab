//! How stored images become a network's input: as they are, or resized with the centre cut out.
//!
//! The geometry alone, torchvision's to the pixel; [`crate::train::resample`] computes the pixels. A model file
//! decides its view ([`super::architecture::Architecture::view`]), so every stage shows a network the same.

/// From a stored image to the network's input, without chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Nothing changes.
    AsStored,
    /// torchvision's `Resize(shorter)`, then `CenterCrop(crop)`; `crop` is at most `shorter`.
    Resized {
        /// Length of the shorter side after resizing.
        shorter: usize,
        /// Side of the square that is cut out.
        crop: usize,
    },
}

/// What is seen of one side of an image: `count` pixels from `first` on, of the `length` that the side is resized to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// Pixels of the whole side after resizing.
    pub length: usize,
    /// The first that is seen.
    pub first: usize,
    /// How many are seen.
    pub count: usize,
}

impl Side {
    fn whole(length: usize) -> Self {
        Self { length, first: 0, count: length }
    }

    /// The centre; half a pixel goes to the even neighbour, as Python rounds.
    fn centre(length: usize, count: usize) -> Self {
        let first = ((length - count) as f64 / 2.0).round_ties_even() as usize;
        Self { length, first, count }
    }
}

impl View {
    /// Height and width of the network's input, for stored images of this size.
    #[must_use]
    pub fn input_size(self, height: usize, width: usize) -> [usize; 2] {
        self.sides(height, width).map(|side| side.count)
    }

    /// What is seen of the rows and of the columns of stored images of this size.
    #[must_use]
    pub fn sides(self, height: usize, width: usize) -> [Side; 2] {
        match self {
            Self::AsStored => [height, width].map(Side::whole),
            Self::Resized { shorter, crop } => {
                let least = height.min(width);
                [height, width].map(|side| Side::centre(shorter * side / least, crop))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorter_side_is_resized_and_the_centre_cut_out() {
        let view = View::Resized { shorter: 256, crop: 224 };
        assert_eq!(view.sides(32, 32), [Side { length: 256, first: 16, count: 224 }; 2]);
        // torchvision: int(256 * 500 / 375) = 341, round((341 - 224) / 2) = round(58.5) = 58.
        let [rows, columns] = view.sides(375, 500);
        assert_eq!((rows.length, columns), (256, Side { length: 341, first: 58, count: 224 }));
        assert_eq!(view.input_size(375, 500), [224, 224]);
    }

    #[test]
    fn half_a_pixel_goes_to_the_even_neighbour() {
        assert_eq!([Side::centre(9, 4), Side::centre(11, 4)].map(|side| side.first), [2, 4]);
    }

    #[test]
    fn images_as_stored_keep_their_size() {
        assert_eq!(View::AsStored.input_size(28, 32), [28, 32]);
    }
}
