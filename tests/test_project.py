"""The project's own files agree with one another."""

from pathlib import Path

import yaml

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parents[1]


def test_conda_and_pip_users_get_the_same_versions():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = (entry["pip"] for entry in conda if isinstance(entry, dict))
    assert sorted(pip) == sorted(project["dependencies"])
    assert f"python{project['requires-python']}" in conda


def test_utils_and_dataloader_import_nothing_above_them():
    """Arrows point one way: scripts -> active_selection -> dataloader, models -> utils."""
    above = {
        "utils": ("dataloader", "models", "active_selection", "data_preprocessing"),
        "dataloader": ("models", "active_selection", "data_preprocessing"),
        "models": ("dataloader", "active_selection", "data_preprocessing"),
        "active_selection": ("data_preprocessing",),
    }
    for folder, forbidden in above.items():
        for path in (ROOT / folder).glob("*.py"):
            for line in path.read_text().splitlines():
                words = line.split()
                if words[:1] in (["import"], ["from"]):
                    assert words[1].split(".")[0] not in forbidden, f"{path.name}: {line}"
