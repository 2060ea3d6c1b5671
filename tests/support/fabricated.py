"""A DVC project whose runs are written as DVC would have, without running anything."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Params = dict[str, Any]
Tool = Callable[..., str]
# Accuracies of five seeds without and with label smoothing.
PLAIN = (57.9, 58.3, 57.6, 58.1, 57.8)
SMOOTHED = (58.9, 59.1, 58.4, 59.2, 58.8)
SMOOTHING: dict[str, Any] = {"recipes__quick__label_smoothing": 0.1}
METRICS = "reports/metrics.json"
MODEL = "models/classifier.safetensors"
IMAGES = "data/arrays/train_images.npy"
CODE = {
    f"stages/{name}.py": str(n) * 32
    for n, name in enumerate(("download", "train", "evaluate", "preview"))
}
DVC_YAML = f"""
stages:
  download:
    cmd: python stages/download.py
    deps: [stages/download.py]
    params: [download]
    outs: [data/arrays]
  train:
    cmd: python stages/train.py
    deps: [stages/train.py, {IMAGES}]
    params: [train, "recipes.${{train.recipe}}"]
    outs: [{MODEL}]
  preview:
    cmd: python stages/preview.py
    deps: [stages/preview.py]
    params: [preview]
    outs: [reports/preview.png]
  evaluate:
    cmd: python stages/evaluate.py
    deps: [stages/evaluate.py, {MODEL}, reports/preview.png]
    metrics: [{METRICS}: {{cache: false}}]
"""


def params(recipe: str = "quick", seed: int = 0, **changes: Any) -> Params:
    """Return parameters; ``changes`` are keys with double underscores: recipes__quick__epochs=3."""
    content: Params = {
        "train": {"recipe": recipe, "seed": seed, "validation_fraction": 0.0},
        "download": {"dataset": "CIFAR10", "seed": 0},
        "preview": {"seed": 0},
        "machine": {"device": "cpu", "threads": 1},
        "recipes": {
            "quick": {"epochs": 2, "label_smoothing": 0.0, "optimizer": {"name": "sgd"}},
            "slow": {"epochs": 9, "label_smoothing": 0.0},
        },
    }
    for name, value in changes.items():
        *sections, key = name.split("__")
        section = content
        for part in sections:
            section = section.setdefault(part, {})
        section[key] = value
    return content


def lock(of: Params, code: dict[str, str] = CODE, evaluated: bool = True) -> str:
    """Return the dvc.lock of a run; without ``evaluated`` train ran again after evaluate."""
    recipe = of["train"]["recipe"]
    used = {"train": of["train"], f"recipes.{recipe}": of["recipes"][recipe]}
    model = hashlib.md5(json.dumps(used).encode(), usedforsecurity=False).hexdigest()
    code = CODE | code

    drawn = hashlib.md5(json.dumps(of["preview"]).encode(), usedforsecurity=False).hexdigest()
    made = code | {"reports/preview.png": drawn}

    def dep(path: str) -> dict[str, str]:
        return {"path": path, "hash": "md5", "md5": made.get(path, model)}

    stages = {
        "download": {
            "cmd": "python stages/download.py",
            "deps": [dep("stages/download.py")],
            "params": {"params.yaml": {"download": of["download"]}},
            "outs": [dep("data/arrays")],
        },
        "train": {
            "cmd": "python stages/train.py",
            "deps": [dep("stages/train.py"), dep(IMAGES)],
            "params": {"params.yaml": used},
            "outs": [dep(MODEL) if evaluated else dep(MODEL) | {"md5": "f" * 32}],
        },
        "preview": {
            "cmd": "python stages/preview.py",
            "deps": [dep("stages/preview.py")],
            "outs": [dep("reports/preview.png")],
            "params": {"params.yaml": {"preview": of["preview"]}},
        },
        "evaluate": {
            "cmd": "python stages/evaluate.py",
            "deps": [dep(path) for path in ("stages/evaluate.py", MODEL, "reports/preview.png")],
            "outs": [dep(METRICS)],
        },
    }
    return json.dumps({"schema": "2.0", "stages": stages})


@dataclass
class Fabricated:
    """The project, with a commit of its own run if it has metrics, and experiments of that."""

    path: Path
    count: int = field(default=0, init=False)

    def start(self, head: Params, metrics: dict[str, float] | None, code: str = "") -> None:
        """Make the repository and its only commit."""
        self.path.mkdir(exist_ok=True)
        self.call("git", "init", "-q", "-b", "main")
        for key, value in (("user.name", "somebody"), ("user.email", "somebody@example.com")):
            self.call("git", "config", key, value)
        self.call(sys.executable, "-m", "dvc", "init", "-q")
        (self.path / "dvc.yaml").write_text(DVC_YAML)
        for path in CODE:
            (self.path / path).parent.mkdir(exist_ok=True)
            (self.path / path).write_text(code)
        self.write(head, metrics)
        self.call("git", "add", "-A")
        self.call("git", "commit", "-qm", "first")

    def write(self, of: Params, metrics: dict[str, float] | None) -> None:
        """Leave a run in the workspace, or without metrics only the parameters."""
        for path, content in self.files(of, metrics).items():
            (self.path / path).parent.mkdir(exist_ok=True)
            (self.path / path).write_text(content)

    def files(self, of: Params, metrics: dict[str, float] | None, **options: Any) -> dict[str, str]:
        params_only = {"params.yaml": json.dumps(of)}
        if metrics is None:
            return params_only
        return params_only | {"dvc.lock": lock(of, **options), METRICS: json.dumps(metrics)}

    def experiment(
        self, of: Params, metrics: dict[str, float] | None, name: str = "", **options: Any
    ) -> str:
        """Add a finished experiment, later than those before, and return its name."""
        self.count += 1
        name = name or f"exp-{self.count}"
        head = self.call("git", "rev-parse", "HEAD").strip()
        time = 1_900_000_000 + self.count
        stream = [
            f"commit refs/exps/{head[:2]}/{head[2:]}/{name}",
            f"committer somebody <somebody@example.com> {time} +0000",
            f"data 0\nfrom {head}",
        ]
        for path, content in self.files(of, metrics, **options).items():
            stream.append(f"M 100644 inline {path}\ndata {len(content.encode())}\n{content}")
        self.call("git", "fast-import", "--quiet", input="\n".join([*stream, ""]))
        return name

    def call(self, *command: str, input: str | None = None) -> str:
        done = subprocess.run(
            command, cwd=self.path, capture_output=True, encoding="utf-8", input=input, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def metrics(accuracy: float) -> dict[str, float]:
    return {"accuracy": accuracy, "loss": 3 - accuracy / 50}


def add(project: Fabricated, values: tuple[float, ...], start: int = 0, **changes: Any) -> None:
    """Add an experiment per value, with seeds from ``start`` on."""
    for seed, value in enumerate(values, start):
        project.experiment(params(seed=seed, **changes), metrics(value))


def two_groups(project: Fabricated) -> None:
    """Add seeds 1 to 4 without label smoothing, HEAD being 0, and 0 to 4 with it."""
    add(project, PLAIN[1:], start=1)
    add(project, SMOOTHED, **SMOOTHING)
