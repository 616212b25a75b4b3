"""What of the repository a wheel holds: the rest stands in pyproject.toml.

`flows`, `datasets` and `deployments` are installed below `vardax_core/home`, so that none of them
is a name that others import; see docs/decisions.md.
"""

from setuptools import find_packages, setup

HOME = "vardax_core.home"
FOLDERS = {
    "flows": ["schemas/*.json"],
    "datasets": ["*/*"],
    "deployments": ["*.yaml", "Dockerfile", "pools/*.json"],
}

setup(
    packages=find_packages(include=["vardax_core", "vardax_core.*"])
    + [f"{HOME}.{folder}" for folder in FOLDERS],
    package_dir={f"{HOME}.{folder}": folder for folder in FOLDERS},
    package_data={
        "vardax_core": ["py.typed"],
        **{f"{HOME}.{folder}": files for folder, files in FOLDERS.items()},
    },
)
