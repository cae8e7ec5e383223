"""Training objectives beside torch's own losses; one a file."""

from colorlab.objectives.adversarial import Adversarial
from colorlab.objectives.classification import Classification
from colorlab.objectives.colorfulness import Colorfulness
from colorlab.objectives.objective import ColorBatch, LearningObjective, Objective, Prediction
from colorlab.objectives.perceptual import Perceptual
from colorlab.objectives.rebalanced_classification import RebalancedClassification
from colorlab.objectives.sum import Sum

__all__ = [
    "Adversarial", "Classification", "ColorBatch", "Colorfulness", "LearningObjective", "Objective", "Perceptual",
    "Prediction", "RebalancedClassification", "Sum",
]  # fmt: skip
