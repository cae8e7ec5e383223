"""Judging trained models on photographs they did not see."""
