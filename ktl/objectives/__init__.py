"""What an edge minimises; and, by name, what it can learn from image-vector pairs."""

from ktl.registry import Registry

TRANSFERS = Registry(
    "transfer",
    "ktl.transfers",
    {
        "image-vector": (
            "ktl.objectives.image_vector:ImageVectorContrast",
            "contrast between images and their latents over the batch, before and beside the shots",
        ),
        "contrastive": (
            "ktl.objectives.contrastive:ViewContrast",
            "contrast between two views of each image; latents play no part",
        ),
        "image-vector+contrastive": (
            "ktl.objectives.contrastive:ImageVectorAndViewContrast",
            "the sum of both contrasts",
        ),
        "mse": (
            "ktl.objectives.mse:LatentRegression",
            "the paper's mean squared error to the latent, kept for comparison",
        ),
    },
    adapt="ktl.objectives.pair_objective:checked",
)
