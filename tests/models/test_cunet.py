"""CUNet's number of parameters and its options."""

import torch

from colorlab.models import CUNet


def test_cunet_has_the_number_of_parameters_of_the_student_report() -> None:
    assert sum(parameter.numel() for parameter in CUNet().parameters()) == 23_156_674


def test_each_option_changes_the_network() -> None:
    def kinds(model: CUNet) -> list[str]:
        return [type(module).__name__ for module in model.bottom[0]]

    assert kinds(CUNet(width=4)) == ["Conv2d", "Sigmoid", "BatchNorm2d"]
    assert kinds(CUNet(width=4, activation="relu", norm="before")) == ["Conv2d", "BatchNorm2d", "ReLU"]
    dilations = [unit[0].dilation[0] for unit in CUNet(width=4, dilation=3).bottom]
    assert dilations == [1, 1, 3, 3, 3, 3, 1, 1]
    torch.manual_seed(0)
    average = CUNet(width=4).eval()
    torch.manual_seed(0)
    largest = CUNet(width=4, pool="max").eval()
    lightness = torch.rand(1, 1, 16, 16) * 100
    assert not torch.equal(average(lightness), largest(lightness))
