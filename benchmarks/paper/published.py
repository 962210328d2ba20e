"""The paper's figures: accuracy in percent by (column, method), and millions of numbers in table 5.

"An Upload-Efficient Scheme for Transferring Knowledge From a Server-Side Pre-trained Generator to Clients in
Heterogeneous Federated Learning" (CVPR 2024, arXiv 2403.15760).
"""

from __future__ import annotations

DATA = ("CIFAR-10", "CIFAR-100", "Flowers102", "Tiny-ImageNet")
COLUMNS_1 = [f"{data}, {kind}" for kind in ("pathological", "practical") for data in DATA]
_TABLE_1 = {
    "lg-fedavg": (86.82, 57.01, 58.88, 32.04, 84.55, 40.65, 45.93, 24.06),
    "fedgen": (82.83, 58.26, 59.90, 29.80, 82.55, 38.73, 45.30, 19.60),
    "fedgh": (86.59, 57.19, 59.27, 32.55, 84.43, 40.99, 46.13, 24.01),
    "fml": (87.06, 55.15, 57.79, 31.38, 85.88, 39.86, 46.08, 24.25),
    "fedkd": (87.32, 56.56, 54.82, 32.64, 86.45, 40.56, 48.52, 25.51),
    "feddistill": (87.24, 56.99, 58.51, 31.49, 86.01, 41.54, 49.13, 24.87),
    "fedproto": (83.39, 53.59, 55.13, 29.28, 82.07, 36.34, 41.21, 19.01),
    "fedktl": (88.43, 62.01, 64.72, 34.74, 87.63, 46.94, 53.16, 28.17),
}
GROUPS_2 = {"HtFE2": 48.06, "HtFE3": 49.83, "HtFE4": 47.06, "HtFE9": 50.33, "HtM10": 45.84}
CLIENTS_2 = {"50 clients": 43.16, "100 clients": 39.73, "200 clients": 34.24}
TRAFFIC = {
    "lg-fedavg": (1.03, 1.03),
    "fedgen": (1.03, 7.66),
    "fedgh": (0.46, 1.03),
    "fml": (18.50, 18.50),
    "fedkd": (16.52, 16.52),
    "feddistill": (0.09, 0.20),
    "fedproto": (0.46, 1.02),
    "fedktl": (0.09, 7.17),
}
CLUSTERING_WEIGHTS = (0.05, 0.1, 0.5)  # lambda
GENERATORS_6 = {
    "AFHQv2": (26.82, 27.05, 26.32),
    "Bench": (27.71, 28.36, 27.56),
    "FFHQ-U": (27.28, 27.21, 26.59),
    "WikiArt": (27.37, 27.48, 27.30),
}
_TABLE_9 = {
    "client data only": {"100-way 23-shot": 12.53, "100-way 9-shot": 7.55, "100-way 2-shot": 4.44},
    "KTL": {"100-way 23-shot": 13.02, "100-way 9-shot": 8.88, "100-way 2-shot": 8.76},
}

PUBLISHED: dict[int, dict[tuple[str, str], float]] = {
    1: {(column, m): v for m, values in _TABLE_1.items() for column, v in zip(COLUMNS_1, values, strict=True)},
    2: {(column, "fedktl"): value for column, value in (GROUPS_2 | CLIENTS_2).items()},
    6: {
        (f"{name}, lambda {weight}", "fedktl"): value
        for name, values in GENERATORS_6.items()
        for weight, value in zip(CLUSTERING_WEIGHTS, values, strict=True)
    },
    8: {("StyleGAN-XL", "fedktl"): 87.63, ("Stable Diffusion", "fedktl"): 87.71},
    9: {(column, method): value for method, values in _TABLE_9.items() for column, value in values.items()},
}
