"""Federated learning across heterogeneous models: N edges, one cloud, one round loop, and the methods to compare."""

from ktl.registry import Registry

METHODS = Registry(
    "method",
    {
        "local": ("ktl.federation.methods.local:Local", "each client alone: what federation must beat"),
        "fedktl": ("ktl.federation.methods.fedktl:FedKTL", "prototypes up, image-vector pairs down"),
        "lg-fedavg": ("ktl.federation.methods.lg_fedavg:LGFedAvg", "heads averaged, extractors kept"),
        "fedgen": ("ktl.federation.methods.fedgen:FedGen", "a generator of features, trained on the heads"),
        "fedgh": ("ktl.federation.methods.fedgh:FedGH", "one head, trained on class-mean features"),
        "fml": ("ktl.federation.methods.fml:FML", "a small shared model, mutual distillation"),
        "fedkd": ("ktl.federation.methods.fedkd:FedKD", "a shared mentee, compressed by singular values"),
        "feddistill": ("ktl.federation.methods.feddistill:FedDistill", "class-mean logits averaged"),
        "fedproto": ("ktl.federation.methods.fedproto:FedProto", "class-mean features averaged"),
        "fedtgp": ("ktl.federation.methods.fedtgp:FedTGP", "trainable prototypes with an adaptive margin"),
    },
)
