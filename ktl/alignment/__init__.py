"""Domain alignment: from class prototypes to latents of the generator that belong to the classes."""

from ktl.registry import Registry

ALIGNMENTS = Registry(
    "alignment",
    {
        "robust": (
            "ktl.alignment.robust:RobustAlignment",
            "closed form through the generator's own mapping: latents are valid by construction",
        ),
        "published": (
            "ktl.alignment.published:PublishedAlignment",
            "the paper's trained feature transformer (MMD + MSE), kept for comparison",
        ),
    },
)
