"""Networks after DDL: every layer but the last is a non-negative sparse code of patches over a dictionary.

Source: Mahdizadehaghdam, Panahi, Krim and Dai, "Deep Dictionary Learning: A PARametric NETwork Approach", IEEE TIP
2019, as DeTraMe-Net (Tang et al., arXiv:2002.07898), section 2.2 and table 3, describe and print it.

`ddl-plainnet9` has the shapes of PlainNet-9, as DDL-9 in that table: a code over 96 or 192 atoms in place of every
convolution and its ReLU, the last convolution as a linear classifier, and no biases.

| model | layers of codes | parameters (10 classes) |
|---|---|---|
| `ddl-plainnet3` | 2 | 94,176 |
| `ddl-plainnet6` | 5 | 683,424 |
| `ddl-plainnet9` | 8 | 1,368,480 (table 3: 1.4M) |
| `ddl-plainnet12` | 11 | 2,363,808 |

| setting (all ours: DDL's are not published) | default |
|---|---|
| lambda, lambda_2 | 0.003, 0.1 |
| atoms | of unit norm |
| steps of FISTA | 50; 200 where the dictionary is overcomplete, as it is in the first layer |

Nothing normalises what a layer gets, and codes over random atoms of unit norm have about 0.6 of the strength of their
input: with lambda 0.1, as in SDNet, the seventh layer starts with codes of zero and learns nothing.

Differences from the paper: as far as known, DDL trains dictionaries for classification and codes for reconstruction, in
turn. Here all weights are trained by the cross-entropy, through the implicit gradient. By theorem 3.1 of DeTraMe-Net a
layer equals a linear map and a Q-Metric ReLU with the metric of its dictionary.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from robustcsc.layers.gradients import Gradient
from robustcsc.layers.patch_code import OVERCOMPLETE_STEPS, PatchCode2d
from robustcsc.layers.plain import PlainLayer, plain_network
from robustcsc.models.builder import Builder, described


def _ddl(
    depth: int,
    num_classes: int,
    in_channels: int = 3,
    *,
    lam: float = 0.003,
    lam2: float = 0.1,
    num_steps: int = 50,
    gradient: Gradient = "implicit",
) -> nn.Module:
    def layer(channels: int, filters: int, shape: PlainLayer) -> list[nn.Module]:
        size, stride = shape.kernel_size, shape.stride
        if not shape.channels:
            return [nn.Conv2d(channels, filters, size, stride, size // 2, bias=False)]
        steps = max(num_steps, OVERCOMPLETE_STEPS) if filters > channels * size**2 else num_steps
        code = partial(PatchCode2d, lam=lam, lam2=lam2, num_steps=steps, gradient=gradient)
        return [code(channels, filters, size, stride, size // 2)]

    return plain_network(depth, num_classes, in_channels, layer)


#: The networks, by their names in the catalog.
MODELS: dict[str, Builder] = {
    f"ddl-plainnet{depth}": described(
        f"PlainNet-{depth} of patch codes, after DDL; its settings are ours", partial(_ddl, depth)
    )
    for depth in (3, 6, 9, 12)
}
