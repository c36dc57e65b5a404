"""Maps the repository's root onto the import package `polytrainer`; the metadata is in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOMS = ("proto", "components", "executors", "pipelines")


def packages() -> list[str]:
    """`polytrainer` and every folder of the rooms that holds Python code (proto/ has no __init__.py on purpose)."""
    root = Path(__file__).parent
    folders = {
        source.parent.relative_to(root)
        for room in ROOMS
        for source in (root / room).rglob("*.py")
        if "__pycache__" not in source.parts
    }
    return ["polytrainer", *sorted("polytrainer." + ".".join(folder.parts) for folder in folders)]


class BuildPy(build_py):
    """Keeps only `__init__.py` of the root: setup.py and its neighbours are no part of the package."""

    def find_package_modules(self, package, package_dir):
        modules = super().find_package_modules(package, package_dir)
        if package == "polytrainer":
            return [module for module in modules if module[1] == "__init__"]
        return modules


setup(
    packages=packages(),
    package_dir={"polytrainer": "."},
    package_data={"polytrainer": ["py.typed"], "polytrainer.proto": ["*.proto", "*.pyi"]},
    cmdclass={"build_py": BuildPy},
    zip_safe=False,
)
