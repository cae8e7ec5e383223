"""Training objectives beside torch's own losses; one a file.

A torch loss is called with (predicted ab, true ab). An objective with `takes_logits` is called with
(logits of the bins, true ab).
"""

from colorlab.objectives.classification import Classification
from colorlab.objectives.rebalanced_classification import RebalancedClassification

__all__ = ["Classification", "RebalancedClassification"]
