"""The model card."""

from colorlab.export.card import write_card
from colorlab.export.graph import Graph
from colorlab.models import CUNet
from colorlab.models.weights import LICENSES


def test_card_and_graph_name_the_licenses_of_code_and_weights() -> None:
    model = CUNet(width=2)
    assert "MIT license" in LICENSES
    assert f"## License\n\n{LICENSES}\n" in write_card(model, "model", None)
    assert Graph(model, rgb=True).facts()["license"] == LICENSES
