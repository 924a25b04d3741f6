"""How well mixtures of different kinds fit features of regions that they were not fitted to.

Reads the features that ``train_ADA.py --keep_features`` left of one round. For each domain and
pseudo-class, five parts of the list of images in turn are held out, and mixtures fitted to the
regions of the others. Printed is the mean log density of the held-out regions, in nats a region, by
the number of regions that a class has: the higher, the better does a mixture describe regions like
those that it has seen. Nothing is trained.
"""

import itertools
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from utils.stopping import end_at_interrupt

    end_at_interrupt()

import numpy as np
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from active_selection.density import components_of
from active_selection.mixture import fit_mixture
from utils.errors import UserError, run
from utils.parser import Parser, number
from utils.threads import map_in_threads

FOLDS = 5
FEWEST = 10
"""Classes of fewer regions are left out: too few are held out to tell anything."""
SIZES = (10, 100, 256, 1000, 2560, 1 << 40)
"""Bounds of the groups of classes, in regions; 256 is the number of dimensions."""

Density = Callable[[np.ndarray], np.ndarray]
"""(n, d) features -> (n,) log densities."""


class Group(NamedTuple):
    """The regions of one class in one domain.

    Attributes:
        features: (n, d) float32.
        fold: (n,) int, the part of the list of images that each region's image is in.
        components: number of components, as selection would choose it.
    """

    features: np.ndarray
    fold: np.ndarray
    components: int


def ours(covariance: str, components: int | None = None) -> Callable[[np.ndarray, int], Density]:
    """Mixtures of the project."""
    return lambda rows, k: fit_mixture(rows, components or k, covariance=covariance).log_density


def tied(rows: np.ndarray, components: int) -> Density:
    """One full covariance for all components."""
    model = GaussianMixture(components, covariance_type="tied", random_state=0)
    return model.fit(rows.astype(float)).score_samples


def ledoit_wolf(rows: np.ndarray, components: int) -> Density:
    """One component, shrunk by Ledoit & Wolf (2004)."""
    model = LedoitWolf().fit(rows.astype(float))
    dims = rows.shape[1]
    _, log_det = np.linalg.slogdet(model.covariance_)
    constant = -0.5 * (log_det + dims * np.log(2 * np.pi))
    return lambda z: constant - 0.5 * model.mahalanobis(z.astype(float))


def principal(dims: int) -> Callable[[np.ndarray, int], Density]:
    """Full covariances in the first principal components; a sphere in all others."""

    def fit(rows: np.ndarray, components: int) -> Density:
        model = PCA(min(dims, len(rows) - 1), svd_solver="full").fit(rows.astype(float))
        inside = fit_mixture(model.transform(rows.astype(float)), components)
        rest = rows.shape[1] - model.n_components_
        variance = max(model.noise_variance_, 1e-6)

        def density(z: np.ndarray) -> np.ndarray:
            found = model.transform(z.astype(float))
            residual = ((z - model.inverse_transform(found)) ** 2).sum(1)
            sphere = -0.5 * (rest * np.log(2 * np.pi * variance) + residual / variance)
            return inside.log_density(found) + sphere

        return density

    return fit


KINDS: dict[str, Callable[[np.ndarray, int], Density]] = {
    "full (published)": ours("full"),
    "full, one component": ours("full", 1),
    "oas": ours("oas"),
    "oas, one component": ours("oas", 1),
    "Ledoit-Wolf, one component": ledoit_wolf,
    "diagonal": ours("diagonal"),
    "tied": tied,
    **{f"full in {q} principal components": principal(q) for q in (16, 32, 64)},
}


def parser() -> Parser:
    """Return the command-line parser of this script."""
    result = Parser(__doc__)
    result.add_argument(
        "--features", type=Path, required=True, help="folder of features (-p/features of the run)"
    )
    result.add_argument("--round", type=number(int, 0, 999), default=0, help="number of the round")
    return result


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    found = groups(args.features, args.round)
    sizes = np.array([len(group.features) for group in found])
    names = [
        f"{low} to {high - 1}" if high < 1 << 40 else f"{low} and more"
        for low, high in itertools.pairwise(SIZES)
    ]
    of = np.searchsorted(SIZES, sizes, "right") - 1
    print("| regions of a class in a domain | " + " | ".join(names) + " |")
    print("|---|" + "---|" * len(names))
    print("| classes | " + " | ".join(str((of == i).sum()) for i in range(len(names))) + " |")
    for kind, fit in KINDS.items():
        means = np.array(map_in_threads(partial(held_out, fit), found, lambda g: len(g.fold)))
        each = (means[of == i] for i in range(len(names)))
        cells = [f"{group.mean():.0f}" if len(group) else "-" for group in each]
        print(f"| {kind} | " + " | ".join(cells) + " |", flush=True)


def groups(folder: Path, round_index: int) -> list[Group]:
    """Read the features of a round by domain and pseudo-class.

    Raises:
        UserError: files are missing.
    """
    tables = {}
    for domain in ("target", "source"):
        name = f"round{round_index:02d}_{domain}"
        paths = {c: folder / f"{name}_{c}.npy" for c in ("feature", "prob")}
        for path in paths.values():
            if not path.is_file():
                raise UserError(f"{path}: no such file; run train_ADA.py with --keep_features")
        tables[domain] = {column: np.load(path) for column, path in paths.items()}
    counts = np.bincount(tables["target"]["prob"].argmax(1), minlength=256)
    result = []
    for table in tables.values():
        classes = table["prob"].argmax(1)
        fold = FOLDS * np.arange(len(classes)) // len(classes)  # rows are in the images' order
        for c in np.flatnonzero(np.bincount(classes) >= FEWEST):
            rows = classes == c
            components = components_of(int(counts[c]))
            result.append(Group(table["feature"][rows], fold[rows], components))
    return result


def held_out(fit: Callable[[np.ndarray, int], Density], group: Group) -> float:
    """Return the mean log density of regions by mixtures that have not seen their images."""
    total = 0.0
    for k in np.unique(group.fold):
        seen, unseen = group.features[group.fold != k], group.features[group.fold == k]
        if len(seen) < 2:
            return float("nan")
        total += fit(seen, min(group.components, len(seen)))(unseen).sum()
    return total / len(group.features)


if __name__ == "__main__":
    run(main, parser)
