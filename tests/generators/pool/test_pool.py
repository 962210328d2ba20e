"""A cloud's own images in place of a generator's."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ktl.data.collection import read_collection
from ktl.encoders import load_encoder
from ktl.errors import DataError, KtlError, UsageError
from ktl.generators import load_generator
from ktl.generators.base import ImageGenerator, members_of, sample_latents, stock_of
from ktl.generators.cached import CachedGenerator
from ktl.generators.pool.pool import PoolGenerator
from ktl.seeds import stream
from ktl.spaces import space_of


class Brightness:
    """A vector of one number."""

    fingerprint = "brightness"
    dimension = 1

    def embed(self, images: Tensor) -> Tensor:
        return images.float().mean(dim=(1, 2, 3))[:, None]


def of_levels(*levels: int) -> PoolGenerator:
    """A pool of grey images, each of one level."""
    images = np.array(levels, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2).repeat(3, 3)
    return PoolGenerator(images, Brightness(), name="levels", licence="CC0")


def levels_of(images: Tensor) -> list[int]:
    return images[:, 0, 0, 0].tolist()


@pytest.fixture(scope="module")
def pool(photographs: Path) -> ImageGenerator:
    return load_generator(f"pool:{photographs}")


def test_a_folder_is_a_generator(pool: ImageGenerator, photographs: Path) -> None:
    assert (pool.name, pool.family, pool.licence) == ("photographs", "pool", "CC0 1.0 Universal")
    assert (pool.image_size, pool.latent_dim, pool.noise_dim, pool.parameters) == (32, 128, 6, 0)
    assert len(pool.fingerprint) == 64


def test_latents_are_drawn_by_drawing_members_each_of_which_finds_its_image(
    pool: ImageGenerator, photographs: Path
) -> None:
    latents = sample_latents(pool, 40, stream(0, "test"))
    images = pool.images(latents.half().float())  # as they travel
    assert (images.shape, images.dtype) == ((40, 3, 32, 32), torch.uint8)
    own = torch.from_numpy(read_collection(photographs, 32)).permute(0, 3, 1, 2)
    found = [[torch.equal(image, other) for other in own].index(True) for image in images]
    assert sorted(found) == list(range(40))  # none twice
    alone = torch.cat([pool.images(latent[None]) for latent in latents])
    assert torch.equal(alone, images)


def test_other_latents_have_the_nearest_image() -> None:
    levels = torch.tensor([[49.0], [71], [-30], [400], [49]])
    centre = (0 + 50 + 90 + 255) / 4
    assert levels_of(of_levels(0, 50, 90, 255).images(levels - centre)) == [50, 90, 0, 255, 50]


def test_latents_are_the_principal_directions_of_an_encoders_embedding(pool: ImageGenerator, photographs: Path) -> None:
    images = torch.from_numpy(read_collection(photographs, 32)).permute(0, 3, 1, 2)
    embeddings = load_encoder("builtin").embed(images)
    centred = embeddings - embeddings.mean(dim=0)
    members = members_of(pool)
    assert members is not None
    # all 39 directions in which 40 images vary are kept, so angles are
    torch.testing.assert_close(members @ members.T, centred @ centred.T, atol=2e-3, rtol=0)
    deviations = members.std(dim=0)
    assert (deviations[:38] > deviations[1:39] - 1e-4).all()
    few = load_generator(f"pool:{photographs}?dimension=8")
    kept = members_of(few)
    assert kept is not None
    torch.testing.assert_close(kept.abs(), members[:, :8].abs(), atol=1e-3, rtol=0)
    assert few.fingerprint != pool.fingerprint


def test_its_latents_are_a_metric_and_those_of_a_network_are_not(
    pool: ImageGenerator, tiny_generator: ImageGenerator
) -> None:
    assert (space_of(pool).name, space_of(pool).metric) == ("latent", True)
    assert (space_of(tiny_generator).metric, members_of(tiny_generator)) == (False, None)


def test_images_that_nothing_tells_apart_count_once() -> None:
    pool = of_levels(7, 9, 7, 9, 11)
    assert stock_of(pool) == 3
    assert sorted(levels_of(pool.images(sample_latents(pool, 3, stream(0, "test"))))) == [7, 9, 11]
    with pytest.raises(UsageError, match="the pool levels holds 1 image that differs from the others: give at least 2"):
        of_levels(5, 5, 5)


def test_the_fingerprint_is_that_of_the_images_and_their_embedding() -> None:
    class Other(Brightness):
        fingerprint = "other"

    one, same, more = of_levels(1, 2), of_levels(1, 2), of_levels(1, 3)
    images = np.zeros((2, 8, 8, 3), np.uint8)
    images[0], images[1] = 1, 2
    other = PoolGenerator(images, Other(), name="levels", licence="CC0")
    assert one.fingerprint == same.fingerprint
    assert len({one.fingerprint, more.fingerprint, other.fingerprint}) == 3


def test_a_tar_file_is_the_same_pool_and_options_say_the_rest(photographs: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "photographs.tar", "w") as tar:
        tar.add(photographs, "photographs")
    folder, packed = (load_generator(f"pool:{where}") for where in (photographs, tmp_path / "photographs.tar"))
    assert (packed.name, packed.licence, packed.fingerprint) == (folder.name, folder.licence, folder.fingerprint)
    other = load_generator(f"pool:{photographs}?licence=CC BY 4.0&size=48")
    assert (other.licence, other.image_size) == ("CC BY 4.0", 48)
    assert other.fingerprint != folder.fingerprint


def test_what_lies_in_memory_is_not_kept_on_the_disk_too(photographs: Path) -> None:
    assert not isinstance(load_generator(f"pool:{photographs}?size=48", cached=True), CachedGenerator)


def test_a_pool_without_a_licence_is_refused(photographs: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(photographs, tmp_path / "bare", ignore=shutil.ignore_patterns("LICENSE"))
    message = f"the pool {bare} states no licence: put a LICENSE file beside its images, or write pool:{bare}.licence="
    with pytest.raises(UsageError, match=message):
        load_generator(f"pool:{bare}")
    assert load_generator(f"pool:{bare}?licence=own").licence == "own"


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("pool", UsageError, "'pool' names no pool: give pool:FOLDER or pool:FILE.tar"),
        ("pool:", UsageError, "'pool:' names no pool"),
        ("pool:nowhere", DataError, "there is no folder or file nowhere: give pool:FOLDER or pool:FILE.tar"),
        ("pool:empty?licence=CC0", DataError, "empty holds no image"),
        ("pool:damaged?licence=CC0", DataError, "cannot read the image damaged/a.png"),
        ("pool:broken.tar?licence=CC0", DataError, "broken.tar is neither a folder nor a whole tar file"),
        (
            "pool:empty?licence=CC0&size=3",
            UsageError,
            "size is '3': give a whole number of at least 4 and at most 1024",
        ),
        ("pool:empty?licence=", UsageError, "the pool empty states no licence"),
        (
            "pool:empty?colour=1",
            UsageError,
            "unknown option 'colour' of a pool: choose from licence, size, encoder, dimension",
        ),
        ("pool:empty?licence=CC0&encoder=nothing", UsageError, "unknown encoder 'nothing'"),
        (
            "pool:empty?licence=CC0&dimension=257",
            UsageError,
            "dimension is 257, but an embedding of builtin has 256 numbers: give at most that",
        ),
        ("pool:empty?size=8&size=9", UsageError, "the option 'size' of a pool is given twice: give it once"),
    ],
)
def test_what_is_no_pool_is_refused_in_one_line(
    source: str, kind: type[KtlError], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "damaged"):
        Path(folder).mkdir()
    Image.new("RGB", (16, 16)).save("damaged/a.png")
    Path("damaged/a.png").write_bytes(Path("damaged/a.png").read_bytes()[:40])
    Path("broken.tar").write_bytes(b"x" * 600)
    with pytest.raises(kind, match=message) as refused:
        load_generator(source)
    assert "\n" not in str(refused.value)
