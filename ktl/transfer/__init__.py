"""Auxiliary tasks: what an edge's feature extractor learns from image-vector pairs."""

from ktl.registry import Registry

TASKS = Registry(
    "transfer",
    {
        "image-vector": (
            "ktl.transfer.image_vector:ImageVectorContrast",
            "contrast between images and their latents over the batch, before and beside the shots",
        ),
        "mse": (
            "ktl.transfer.mse:LatentRegression",
            "the paper's mean squared error to the latent, kept for comparison",
        ),
    },
)
