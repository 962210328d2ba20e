"""Domain alignment: from class prototypes to latents of the generator that belong to the classes."""

from ktl.registry import Registry

ALIGNMENTS = Registry(
    "alignment",
    "ktl.alignments",
    {
        "robust": (
            "ktl.alignment.robust:RobustAlignment",
            "closed form through the generator's own mapping: latents are valid by construction",
        ),
        "pooled": (
            "ktl.alignment.pooled:PooledAlignment",
            "fresh latents that lie nearest to the class means that edges have pooled: for many edges",
        ),
        "random": (
            "ktl.alignment.random:RandomLatents",
            "fresh latents whatever the prototypes: the measure of what alignment adds",
        ),
        "published": (
            "ktl.alignment.published:PublishedAlignment",
            "the paper's trained feature transformer (MMD + MSE), kept for comparison",
        ),
    },
    adapt="ktl.alignment.base:checked",
)
