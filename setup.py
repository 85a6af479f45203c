"""Package of hybrid_lmu. `training` and `evaluation` run from a checkout and are not installed."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (ROOT / "hybrid_lmu" / "__init__.py").read_text(), re.MULTILINE
).group(1)

TENSORFLOW = ["tensorflow>=2.18"]
TRAIN = [
    *TENSORFLOW,
    "keras-lmu>=0.9",  # the LMU baseline; proprietary licence, so never a need of the library
    "tensorflow-datasets>=4.9.6",
    "importlib_resources",  # tensorflow-datasets imports it to prepare a data set, undeclared
    "scikit-learn>=1.3",
    "matplotlib>=3.8",
]

setup(
    name="hybrid_lmu",
    version=VERSION,
    description="Hybrid-spiking sequence models in Keras: Legendre Memory Units with "
    "temporally diffused quantizers, annealed from non-spiking to spiking.",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    packages=find_packages(include=["hybrid_lmu", "hybrid_lmu.*"]),
    python_requires=">=3.10",
    install_requires=["keras>=3.8", "numpy>=1.26", "scipy>=1.11"],
    extras_require={
        "tensorflow": TENSORFLOW,
        "jax": ["jax>=0.4.34"],
        "torch": ["torch>=2.6"],
        "train": TRAIN,
        "export": [*TENSORFLOW, "ai-edge-litert>=2.1", "onnxruntime>=1.20", "tf2onnx>=1.16"],
        "test": [
            *TRAIN,
            "jax>=0.4.34",
            "psutil>=5.9",  # the memory of many reports
            "pytest>=8",
            "pytest-xdist>=3.5",
            "hypothesis>=6.100",
            "ruff>=0.9",
            "sybil>=9",  # runs the code in the documents
        ],
        "docs": ["mkdocs-material>=9.5", "mkdocstrings[python]>=0.30"],
    },
    classifiers=[
        "License :: OSI Approved :: MIT License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
