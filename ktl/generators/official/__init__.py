"""Official StyleGAN files, read without executing anything in them."""
