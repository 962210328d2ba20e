"""The networks of the StyleGAN families."""
