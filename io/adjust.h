#pragma once
// What training does to the colours and edges of 8-bit pictures, with exactly Pillow's bits, under the names of
// torchvision, which asks Pillow for them. Source: Pillow 12's ImageEnhance, ImageOps, ImageFilter and conversions;
// torchvision 0.2x's transforms on Pillow images.

#include "usol/tensor/tensor.h"

namespace usol::io {

// All of them change `image`, a dense CPU u8 [H, W, 3] RGB tensor, in place, and throw Error for another one.

/// Left becomes right.
void flip_left_right(Tensor& image);
/// Each channel becomes L = 0.299 R + 0.587 G + 0.114 B, in 16-bit fixed point, rounded.
void to_grey(Tensor& image);
/// Away from black (factor > 1) or towards it; factor >= 0.
void adjust_brightness(Tensor& image, double factor);
/// The same, from the mean of the picture's L.
void adjust_contrast(Tensor& image, double factor);
/// The same, from each pixel's L.
void adjust_saturation(Tensor& image, double factor);
/// Turns hues by that part of a circle, -0.5 to 0.5, in HSV of 8 bits.
void adjust_hue(Tensor& image, double turn);
/// Values from `threshold` on become 255 - value.
void solarize(Tensor& image, int threshold = 128);
/// Gaussian blur as three extended box blurs along rows, then along columns; `radius` is the standard deviation in
/// pixels, at least 0. Source: Gwosdek et al. 2011, "Theoretical Foundations of Gaussian Convolution by Extended Box
/// Filtering".
void gaussian_blur(Tensor& image, double radius);

}  // namespace usol::io
