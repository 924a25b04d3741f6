"""Region figures by the plainest way: upsample everything, then average over each region."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from models import get_model

GOLDEN = Path(__file__).parents[1] / "golden" / "deeplabv3_resnet50_os16.npz"


def weight_by_rule(k: int, name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Value of the k-th name in sorted order, as the fixtures' README defines it."""
    wave = np.sin(0.7 * np.arange(tensor.numel()) + k).reshape(tuple(tensor.shape))
    if not tensor.is_floating_point():
        wave = 0 * wave
    elif name.endswith("running_var"):
        wave = 1 + 0.5 * wave**2
    elif name.endswith(("running_mean", "bias")):
        wave = 0.1 * wave
    elif tensor.ndim == 1:
        wave = 1 + 0.1 * wave
    else:
        wave = 1.4 * wave / np.sqrt(tensor[0].numel())
    return torch.as_tensor(wave).to(tensor.dtype)


def test_features_that_enter_final_give_the_published_region_figures():
    net = get_model("deeplabv3_resnet50", 19, pretrained_backbone=False).eval()
    names = sorted(net.state_dict())
    state = net.state_dict()
    net.load_state_dict({n: weight_by_rule(k, n, state[n]) for k, n in enumerate(names)})

    i, j = np.mgrid[:128, :256]
    image = np.stack([np.sin(0.05 * i + 0.07 * j * (c + 1)) for c in range(3)])
    region = (5 * i // 128) * 8 + ((j + i // 4) % 256) * 8 // 256
    with torch.inference_mode():
        features, logits = net.forward_features(torch.from_numpy(image).float()[None])
        full = [
            F.interpolate(x, (128, 256), mode="bilinear", align_corners=False)[0].double()
            for x in (features, logits)
        ]
    feat, prob = full[0].numpy(), full[1].softmax(0).numpy()
    top = np.sort(prob, axis=0)
    maps = {
        "region_feat": feat,
        "region_prob": prob,
        "region_entropy": (-prob * np.log2(prob + 1e-12)).mean(0),
        "region_confidence": -top[-1],
        "region_margin": top[-2] - top[-1],
    }
    expected = np.load(GOLDEN)
    for key, values in maps.items():
        ours = np.stack([values[..., region == r].mean(-1) for r in range(40)])
        scale = np.abs(expected[key]).max()  # single features and margins may lie near zero
        np.testing.assert_allclose(ours, expected[key], rtol=1e-4, atol=1e-5 * scale, err_msg=key)
