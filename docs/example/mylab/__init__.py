"""A package that extends colorlab: a network, a loss, a source of photographs and a metric."""
