"""What a session's rounds take at most, known before anything is drawn: pairs, bytes sent, and memory."""

from __future__ import annotations

from dataclasses import dataclass

from ktl.class_statistics import MAX_ARCHITECTURES
from ktl.cloud.knowledge import FITTED_AT_ONCE, KnowledgeCloud
from ktl.generators.base import MAPPED_AT_ONCE
from ktl.wire import MAX_HEADER_BYTES, most_pair_bytes, most_pairs
from ktl.wire.contact_sheets import SIDE

FLOAT, DOUBLE = 4, 8  # bytes
LATENT_COPIES = 2  # of all latents while they are aligned
MAPPING_COPIES = 6  # of the latents that are mapped at once: what a mapping's layers hold
FITTING_COPIES = 5  # of the images that are fitted at once, as floating-point numbers
SHEET_COPIES = 6  # of one contact sheet while it is encoded
VECTOR_COPIES = 4  # of all vectors as floating-point numbers while they are encoded
PAYLOAD_COPIES = 4  # of a round's payload while it is encoded and stored
PER_PAIR = 200  # bytes that Python's objects take beside a pair's own


@dataclass(frozen=True)
class RoundBounds:
    """The most that one round of a session may take: pairs; bytes of payload; bytes of memory while it is drawn."""

    pairs: int
    payload: int
    memory: int


NOTHING = RoundBounds(0, 0, 0)


def round_bounds(cloud: KnowledgeCloud, edges: int) -> RoundBounds:
    """Of a round in which so many `edges` take part."""
    request, dimension = cloud.request, cloud.space.dimension
    pairs = min(request.num_classes * request.pairs_per_class, most_pairs(request, dimension))
    payload = min(request.download_bytes, most_pair_bytes(request, dimension, pairs, cloud.drawn_at_once))
    memory = _of_prototypes(cloud, edges) + _of_latents(cloud, pairs + request.num_classes) + _of_images(cloud)
    memory += PAYLOAD_COPIES * payload + pairs * (PER_PAIR + VECTOR_COPIES * FLOAT * dimension)
    return RoundBounds(pairs, payload, memory)


def _of_prototypes(cloud: KnowledgeCloud, edges: int) -> int:
    """As they came and decoded; and what is known of classes from the rounds before."""
    classes, dimension = cloud.request.num_classes, cloud.space.dimension
    came = MAX_HEADER_BYTES + classes * (classes + 12)
    decoded = classes * max(classes, cloud.generator.latent_dim if cloud.alignment.copies_of_prototypes > 1 else 0)
    known = MAX_ARCHITECTURES * (dimension + classes) * dimension * (FLOAT + 1) + 2 * DOUBLE * dimension**2
    return edges * (came + cloud.alignment.copies_of_prototypes * FLOAT * decoded) + 2 * DOUBLE * classes**2 + known


def _of_latents(cloud: KnowledgeCloud, count: int) -> int:
    noise, latent = cloud.generator.noise_dim, cloud.generator.latent_dim
    mapped = min(count, MAPPED_AT_ONCE) * MAPPING_COPIES * max(noise, latent)
    return FLOAT * (LATENT_COPIES * count * latent + mapped)


def _of_images(cloud: KnowledgeCloud) -> int:
    """Of one batch: as drawn, twice, as fitted, twice, a few of them as floating-point numbers, and a sheet of them."""
    request = cloud.request
    drawn, fitted = cloud.generator.image_size**2 * 3, request.image_size**2 * request.channels
    floats = FITTED_AT_ONCE * FITTING_COPIES * FLOAT * max(drawn, request.image_size**2 * 3)
    sheet = SHEET_COPIES * max(SIDE, request.image_size) ** 2 * request.channels
    return cloud.drawn_at_once * 2 * (drawn + fitted) + floats + sheet
