"""The script that most tutorials end with, which trains and tests: the benchmark's yardstick.

    python tools/usual_loop.py EPOCHS [test]

reads ./data/arrays, writes reports/timing.csv, which the benchmark compares, and history.csv, and
with ``test`` prints the accuracy on the test images.
Network, optimizer and images are those of recipe ``tutorial``. A DataLoader with 2 workers turns
each image into a tensor and normalises it; torch is left at its defaults.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from tqdm import tqdm

ARRAYS = Path("data/arrays")
BATCH_SIZE, LEARNING_RATE, MOMENTUM = 10, 0.001, 0.9  # the tutorial's


class Images(Dataset[tuple[Tensor, int]]):
    """As torchvision's CIFAR10: arrays in memory, and per image a PIL image and the transforms."""

    def __init__(self, split: str) -> None:
        self.images = np.load(ARRAYS / f"{split}_images.npy").transpose(0, 2, 3, 1)  # (N, H, W, 3)
        self.labels = np.load(ARRAYS / f"{split}_labels.npy").tolist()
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


class Net(nn.Module):
    """The tutorial's network, with its hard-coded 16 * 5 * 5."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.conv1(x)))
        x = self.pool(torch.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        x = torch.relu(self.fc1(x))
        x = torch.relu(self.fc2(x))
        logits: Tensor = self.fc3(x)
        return logits


def main() -> None:
    torch.manual_seed(0)
    loader = DataLoader(Images("train"), batch_size=BATCH_SIZE, shuffle=True, num_workers=2)
    network, loss_function = Net(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    timing, history = ["epoch,seconds"], ["epoch,train_accuracy"]
    for epoch in range(1, int(sys.argv[1]) + 1):
        began, correct, running = time.perf_counter(), 0, 0.0
        for images, labels in tqdm(loader, desc=f"Epoch {epoch}"):
            optimizer.zero_grad()
            logits = network(images)
            loss = loss_function(logits, labels)
            loss.backward()
            optimizer.step()
            running += loss.item()
            correct += int((logits.argmax(dim=1) == labels).sum())
        timing.append(f"{epoch},{time.perf_counter() - began}")
        history.append(f"{epoch},{100 * correct / len(loader.dataset)}")  # type: ignore[arg-type]
    Path("reports").mkdir(exist_ok=True)
    Path("reports/timing.csv").write_text("\n".join(timing))
    Path("reports/history.csv").write_text("\n".join(history))
    if "test" in sys.argv[2:]:
        test(network)


@torch.no_grad()
def test(network: Net) -> None:
    loader = DataLoader(Images("test"), batch_size=BATCH_SIZE, num_workers=2)
    correct = sum(int((network(images).argmax(dim=1) == labels).sum()) for images, labels in loader)
    print(f"accuracy {100 * correct / len(loader.dataset):.2f} %")  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
