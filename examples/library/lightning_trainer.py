"""The model and the loss of the package in Lightning's Trainer, or in Fabric without Lightning.

pip install lightning
python examples/library/lightning_trainer.py
"""

import importlib.util
import logging

import torch
from digits import CLASSES, digits
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ibc_pyg import retrieval_metrics
from ibc_pyg.builders.model import build_model
from ibc_pyg.config import ModelConfig
from ibc_pyg.data.sampling import SamplerSettings, make_sampler
from ibc_pyg.losses.intra_batch import IntraBatchLoss

EPOCHS = 8


class Step(nn.Module):
    """Model, loss and optimiser of a training step."""

    def __init__(self) -> None:
        super().__init__()
        config = ModelConfig(backbone_args={"width": 32}, embedding_dim=64)
        self.model = build_model(config, num_classes=CLASSES, channels=1)
        self.loss = IntraBatchLoss()

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a batch."""
        return self.loss(self.model(images), labels).total

    def optimizer(self) -> torch.optim.Optimizer:
        """Return the optimiser."""
        return torch.optim.RAdam(self.parameters(), lr=4e-3)


def main(*, trainer: bool = importlib.util.find_spec("lightning") is not None) -> float:
    """Train with Lightning's Trainer, or else with Fabric; return R@1 on the test images."""
    torch.manual_seed(0)
    train, test = digits(train=True), digits(train=False)
    sampler = make_sampler("distinct", train.y.numpy(), SamplerSettings(10, 5, seed=0))
    loader = DataLoader(TensorDataset(train.x, train.y), batch_sampler=sampler)
    step = Step()
    with_trainer(step, loader) if trainer else with_fabric(step, loader)
    step.eval()
    with torch.no_grad():
        descriptors = step.model.embed(test.x)  # [N, D], unit norm
    return retrieval_metrics(descriptors, test.y)["R@1"]


def with_trainer(step: Step, loader: DataLoader) -> None:
    """Train with Lightning's Trainer."""
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.step = step

        def training_step(self, batch, _index: int) -> Tensor:
            return self.step(*batch)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return self.step.optimizer()

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        # PKSampler takes the share of each process itself.
        use_distributed_sampler=False,
    ).fit(Module(), loader)


def with_fabric(step: Step, loader: DataLoader) -> None:
    """Train with Lightning Fabric."""
    fabric = Fabric(accelerator="cpu")
    fabric.launch()
    wrapped, optimizer = fabric.setup(step, step.optimizer())
    loader = fabric.setup_dataloaders(loader, use_distributed_sampler=False)
    for _ in range(EPOCHS):
        for images, labels in loader:
            loss = wrapped(images, labels)
            optimizer.zero_grad()
            fabric.backward(loss)
            optimizer.step()


if __name__ == "__main__":
    print(f"R@1 on new images: {main():.3f}")
