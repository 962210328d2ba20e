"""Which packages are installed; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

# the folder is cli/, but the import name `cli` is not ours to claim
setup(packages=[*find_packages(include=["ktl", "ktl.*"]), "ktl_cli"], package_dir={"ktl_cli": "cli"})
