"""The network of a deep generative prior: a fully convolutional U-Net of real images of any size.

Level i of L has F 2^i channels: two blocks of 3 x 3 convolution, batch normalisation and ReLU, then max-pooling by 2; L
levels are pooled L times, to a bottleneck of F 2^L channels. On the way up follow a transposed 2 x 2 convolution, the
skip connection, and again two blocks; a 1 x 1 convolution makes the output (Ronneberger et al., MICCAI 2015; as a prior
Ulyanov et al., CVPR 2018; McCray et al., arXiv:2511.07795).

There is only one image, so batch normalisation uses its own statistics, both in training and for the result.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class UNet(nn.Module):
    """Maps images (1, channels, Y, X) to images of the same shape."""

    def __init__(self, channels: int, levels: int, filters: int) -> None:
        """``levels``: L; ``filters``: F, channels of level 0."""
        super().__init__()
        widths = [filters * 2**level for level in range(levels)]
        self.levels = levels
        self.down = nn.ModuleList(
            _blocks(before, width) for before, width in zip([channels, *widths], widths, strict=False)
        )
        self.bottom = _blocks(widths[-1], 2 * widths[-1])
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in reversed(widths))
        self.joined = nn.ModuleList(_blocks(2 * width, width) for width in reversed(widths))
        self.last = nn.Conv2d(filters, channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        """The output images; sizes that are no multiple of 2^L are padded at their borders and cropped again."""
        rows, columns = images.shape[-2:]
        least = 2**self.levels
        padded = functional.pad(images, (0, -columns % least, 0, -rows % least), mode="replicate")
        features, skipped = padded.contiguous(memory_format=torch.channels_last), []
        for blocks in self.down:
            features = blocks(features)
            skipped.append(features)
            features = functional.max_pool2d(features, 2)
        features = self.bottom(features)
        for up, blocks in zip(self.up, self.joined, strict=True):
            features = blocks(torch.cat([skipped.pop(), up(features)], dim=1))
        output: Tensor = self.last(features)
        return output[..., :rows, :columns]


def _blocks(before: int, after: int) -> nn.Sequential:
    """Two blocks of convolution, normalisation, ReLU."""
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [
            nn.Conv2d(channels, after, 3, padding=1, bias=False),  # normalisation would remove a bias
            nn.BatchNorm2d(after, track_running_stats=False),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)
