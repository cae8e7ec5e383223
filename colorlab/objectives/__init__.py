"""What a prediction costs: the losses beside those of torch."""

from colorlab.objectives.classification import Classification, RebalancedClassification

__all__ = ["Classification", "RebalancedClassification"]
