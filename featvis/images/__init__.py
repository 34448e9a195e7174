"""Image spaces: learnable parameterizations of images, one file each."""
