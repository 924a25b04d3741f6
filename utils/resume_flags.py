"""Flags that may differ between a run and its continuation with ``--resume``."""

from typing import NamedTuple

FREE_FLAGS = {
    "model_save_dir",
    "config",
    "tensorboard",
    "relocate",
    "resume",
    "device",
    "num_workers",
    "save_period",
    "save_feat_dir",
    "keep_features",
    "accept_changed_data",
    "accept_partial",
    "report",
    "dist_timeout",
}
"""They change no result."""
GROWS = "max_iterations"
"""How long the run is meant to be; it is kept."""
CHANGES_ROUNDING = "val_batch_size"
"""It is told: a full device may need a smaller one, and what networks compute for an image depends
on its batch in the last digits alone."""
MOVES_WITH_DATA = ("data_dir", "datalist", "dataset")
"""Of each domain: data that were moved as a whole are the same data."""
MOVES_WITH_RUN = ("init_checkpoint", "datalist_path", "backbone_weights")
"""Files that a run begins with; those that were moved with its folder are the same."""
MAY_DIFFER = {*FREE_FLAGS, GROWS, CHANGES_ROUNDING}


class MovedSince(NamedTuple):
    """The data of a domain lay in another folder when a stopped run wrote its files.

    Attributes:
        prefix: of the domain's flags: src, trg or val.
        old, new: absolute folders, then and now.
    """

    prefix: str
    old: str
    new: str
