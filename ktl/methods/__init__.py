"""What edges exchange with a cloud in each round, one file for each published method."""

from ktl.registry import Registry

METHODS = Registry(
    "method",
    "ktl.methods",
    {
        "local": ("ktl.methods.local:Local", "each client alone: what federation must beat"),
        "fedktl": ("ktl.methods.fedktl:FedKTL", "prototypes up, image-vector pairs down"),
        "lg-fedavg": ("ktl.methods.lg_fedavg:LGFedAvg", "heads averaged, extractors kept"),
        "fedgen": ("ktl.methods.fedgen:FedGen", "a generator of features, trained on the heads"),
        "fedgh": ("ktl.methods.fedgh:FedGH", "one head, trained on class-mean features"),
        "fml": ("ktl.methods.fml:FML", "a small shared model, mutual distillation"),
        "fedkd": ("ktl.methods.fedkd:FedKD", "a shared mentee, compressed by singular values"),
        "feddistill": ("ktl.methods.feddistill:FedDistill", "class-mean logits averaged"),
        "fedproto": ("ktl.methods.fedproto:FedProto", "class-mean features averaged"),
        "fedtgp": ("ktl.methods.fedtgp:FedTGP", "trainable prototypes with an adaptive margin"),
        "fedmrl": ("ktl.methods.fedmrl:FedMRL", "a small shared model, its features fused with the private ones"),
        "fedl2g-l": ("ktl.methods.fedl2g:FedL2GLogits", "targets of logits, learnt from what they do to a quiz"),
        "fedl2g-f": ("ktl.methods.fedl2g:FedL2GFeatures", "targets of features, learnt likewise"),
    },
    adapt="ktl.methods.base:checked",
)
