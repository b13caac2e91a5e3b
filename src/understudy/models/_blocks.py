"""The layers that the convolutional backbones of this package are made of."""

from __future__ import annotations

from torch import nn


class ConvBlock(nn.Sequential):
    """Convolution without bias, batch normalisation, ReLU.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        kernel: Side of the kernel.
        stride: Step of the convolution.
        padding: Zeros around; half the kernel unless given, so that stride 1 keeps the size.
        groups: Groups of the convolution; ``inputs`` makes it depthwise.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
    ) -> None:
        padding = kernel // 2 if padding is None else padding
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.act: nn.Module = nn.ReLU(inplace=True)


def init_convolutions(network: nn.Module) -> None:
    """Draws every convolution from He's normal distribution (fan out, ReLU): made for training from scratch.

    Depthwise kernels count the fan of their own group.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
            nn.init.normal_(module.weight, 0.0, (2.0 / fan_out) ** 0.5)
