"""Independent reference values for ResNet, ViT, and the transforms of images, from torchvision's own classes.

What it is.  Small networks built of torchvision's ResNet and VisionTransformer, and torchvision's functions for resizing and
cropping tensors, all in float64.  It shares no code with the Rust stages.  It writes three files of networks and one of
transforms; README.md beside it says what they hold.

How to run.      python models.py OUT_DIR
Needs torch, torchvision, numpy and safetensors (versions: README.md).  CPU, one thread, seconds.

ResNet for small images: torchvision's class and its blocks, with conv1 3x3 stride 1 padding 1 in place of 7x7 stride 2, no
max-pool, and fewer planes.  The number of parameters at full width is asserted below.
SGD: torch.optim.SGD, momentum 0.9.
"""

import math
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.vision_transformer import VisionTransformer, vit_b_16
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as F
from torchvision.transforms import transforms as torchvision_transforms

CLASSES = 4
BATCH = 5
LR = 0.05
WEIGHT_DECAY = 1e-3
F64 = torch.float64


# ---------------------------------------------------------------- networks

class SmallImageResNet(ResNet):
    """torchvision's ResNet with another stem; the layers and the forward pass are inherited."""

    def __init__(self, block, blocks, planes, classes):
        nn.Module.__init__(self)
        self._norm_layer = nn.BatchNorm2d
        self.inplanes, self.dilation, self.groups, self.base_width = planes, 1, 1, 64
        self.conv1 = nn.Conv2d(3, planes, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity()
        for layer in range(4):
            made = self._make_layer(block, planes * 2**layer, blocks[layer], stride=1 if layer == 0 else 2)
            self.add_module(f"layer{layer + 1}", made)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8 * planes * block.expansion, classes)


def check_sizes():
    def count(net):
        return sum(p.numel() for p in net.parameters())

    assert count(SmallImageResNet(BasicBlock, [2, 2, 2, 2], 64, 10)) == 11_173_962
    assert count(SmallImageResNet(BasicBlock, [3, 4, 6, 3], 64, 10)) == 21_282_122
    assert count(SmallImageResNet(Bottleneck, [3, 4, 6, 3], 64, 10)) == 23_520_842
    assert count(vit_b_16()) == 86_567_656


def randomise(net, generator):
    """Nothing stays at 0 or 1, so that each tensor leaves its mark; values are float32 numbers."""

    def normal(like):
        return torch.randn(like.shape, generator=generator, dtype=F64)

    with torch.no_grad():
        for name, p in net.named_parameters():
            p.copy_((p.to(F64) + (0.2 if p.dim() == 1 else 0.05) * normal(p)).float())
        for name, b in net.named_buffers():
            if name.endswith("running_mean"):
                b.copy_((0.1 * normal(b)).float())
            elif name.endswith("running_var"):
                b.copy_((0.5 + torch.rand(b.shape, generator=generator, dtype=F64)).float())
            else:
                b.fill_(3)


def run(net, blocks, embedding, x, y):
    """Everything that the tests compare; `blocks` and `embedding` are modules whose output (input) is taken."""
    initial = {k: v.detach().clone() for k, v in net.state_dict().items()}
    out = {f"initial/{k}": v.float() if v.is_floating_point() else v for k, v in initial.items()}
    seen = {}
    hooks = [m.register_forward_hook(lambda _m, _i, o, name=name: seen.__setitem__(name, o.detach().clone()))
             for name, m in blocks.items()]
    hooks.append(embedding.register_forward_hook(lambda _m, i, _o: seen.__setitem__("embedding", i[0].detach().clone())))
    net.eval()
    # With gradients on: torch's fused attention for inference is another program.
    out["eval/logits"] = net(x).detach()
    out |= {f"eval/{name}": value for name, value in seen.items()}
    for hook in hooks:
        hook.remove()
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=0.9, weight_decay=WEIGHT_DECAY)
    losses = []
    for step in range(2):
        optimizer.zero_grad()
        logits = net(x)
        loss = nn.functional.cross_entropy(logits, y)
        loss.backward()
        if step == 0:
            out["train/logits"] = logits.detach()
            out |= {f"grad/{name}": p.grad.clone() for name, p in net.named_parameters()}
        optimizer.step()
        losses.append(loss.item())
    out["losses"] = torch.tensor(losses, dtype=F64)
    out |= {f"after/{k}": v.detach().clone() for k, v in net.state_dict().items()}
    return out


def images(height, width, generator):
    return torch.randint(0, 256, (BATCH, 3, height, width), generator=generator, dtype=torch.uint8)


def networks():
    made = {}
    for name, block, blocks, seed in [("resnet18", BasicBlock, [2, 2, 2, 2], 18), ("resnet50", Bottleneck, [3, 4, 6, 3], 50)]:
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        net = SmallImageResNet(block, blocks, 2, CLASSES).double()
        # The identity in place of the max-pool gives what the stem gives, after its ReLU.
        layers = {"stem": net.maxpool} | {f"layer{i}": getattr(net, f"layer{i}") for i in range(1, 5)}
        made[name] = (net, generator, (12, 10), layers, net.fc)
    generator = torch.Generator().manual_seed(16)
    torch.manual_seed(16)
    net = VisionTransformer(image_size=16, patch_size=4, num_layers=2, num_heads=3, hidden_dim=12, mlp_dim=20,
                            num_classes=CLASSES).double()
    layers = {f"encoder_layer_{i}": layer for i, layer in enumerate(net.encoder.layers)}
    made["vit_b_16"] = (net, generator, (16, 16), layers, net.heads.head)
    for name, (net, generator, size, blocks, head) in made.items():
        randomise(net, generator)
        pixels = images(*size, generator)
        labels = torch.randint(0, CLASSES, (BATCH,), generator=generator)
        out = run(net, blocks, head, pixels.double() / 255, labels)
        assert all(torch.isfinite(v).all() for v in out.values())
        assert out["eval/logits"].std() > 0.05 and min(v.abs().max() for k, v in out.items() if k.startswith("grad/")) > 1e-8
        yield name, out | {"pixels": pixels, "labels": labels}


# ---------------------------------------------------------------- transforms

def part_of(uniforms, height, width):
    """RandomResizedCrop.get_params with the given numbers from 0 to 1 in place of torch's generator."""
    numbers = iter(uniforms)

    class Empty:
        def uniform_(self, low, high):
            return low + (high - low) * torch.tensor([next(numbers)], dtype=F64)

    def randint(low, high, size):
        return torch.tensor([math.floor(low + (high - low) * next(numbers))])

    class Torch:
        log, exp, tensor = torch.log, torch.exp, torch.tensor
        empty = staticmethod(lambda _: Empty())
    Torch.randint = staticmethod(randint)
    with mock.patch.object(torchvision_transforms, "torch", Torch):
        return RandomResizedCrop.get_params(torch.empty(1, height, width), [0.08, 1.0], [3 / 4, 4 / 3])


def parts():
    torch.set_default_dtype(F64)  # the ratio's logarithms too
    generator = np.random.Generator(np.random.PCG64(1))
    sizes = [(32, 32), (28, 28), (200, 300), (300, 200), (37, 29), (5, 4)]
    cases = [(*size, generator.random(24)) for size in sizes for _ in range(8)]
    # No part of these fits, or almost none: the centre.
    cases += [(4, 100, generator.random(24)), (100, 4, generator.random(24)), (9, 12, np.full(24, 0.999))]
    found = [part_of(uniforms, height, width) for height, width, uniforms in cases]
    torch.set_default_dtype(torch.float32)
    centres = [found[i] for i in range(len(cases)) if cases[i][0] in (4, 100) or cases[i][2][0] == 0.999]
    assert centres == [(0, 47, 4, 5), (47, 0, 5, 4), (0, 0, 9, 12)], centres
    return {"part/sizes": torch.tensor([case[:2] for case in cases]),
            "part/uniforms": torch.tensor(np.stack([case[2] for case in cases])),
            "part/parts": torch.tensor(found)}


def transforms():
    generator = torch.Generator().manual_seed(3)
    out = parts()
    bilinear = {"interpolation": InterpolationMode.BILINEAR, "antialias": True}
    # Parts resized to 12x12 (some up, some down, some both), one mirrored.
    stored = torch.rand(4, 3, 20, 26, generator=generator, dtype=F64)
    boxes = [(0, 0, 20, 26), (3, 5, 9, 20), (10, 1, 2, 3), (7, 13, 13, 13)]
    crop = [F.resized_crop(image, *box, [12, 12], **bilinear) for image, box in zip(stored, boxes, strict=True)]
    crop[3] = F.hflip(crop[3])
    out |= {"crop/stored": stored, "crop/boxes": torch.tensor(boxes), "crop/seen": torch.stack(crop)}
    # Evaluation: the shorter side to 16, then the centre 14x14 (224 of 256 is the same share).
    for case, (height, width) in enumerate([(12, 12), (32, 32), (40, 27), (9, 31)]):
        stored = torch.rand(1, 3, height, width, generator=generator, dtype=F64)
        seen = F.center_crop(F.resize(stored, [16], **bilinear), [14])
        out |= {f"view/{case}/stored": stored, f"view/{case}/seen": seen}
    return out


def main():
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    check_sizes()
    for name, out in [*networks(), ("transforms", transforms())]:
        path = folder / f"{name}.safetensors"
        save_file({k: v.contiguous() for k, v in out.items()}, path)
        print(f"{path.name}  {path.stat().st_size:,} bytes  {len(out)} tensors")


if __name__ == "__main__":
    main()
